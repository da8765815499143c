/* Checks the Ed25519 signatures of many messages while Python's global lock is released once.

   The verifier is crypto_sign_open of the libsodium inside PyNaCl, called through the pointer that
   PyNaCl's own module gives. So there is one libsodium in the process, and one set of rules. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#define KEY_SIZE 32

typedef int (*open_function)(unsigned char *, unsigned long long *, const unsigned char *,
                             unsigned long long, const unsigned char *);

static open_function sodium_open = NULL;

typedef struct {
    const unsigned char *message;
    unsigned long long size;
    const unsigned char *key;
} check;

/* Fills `checks` with the bytes that two tuples hold. Returns -1 with an exception set. */
static int
collect(check *checks, PyObject *messages, PyObject *keys, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        char *bytes;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(messages, i), &bytes, &size) < 0) {
            return -1;
        }
        checks[i].message = (const unsigned char *)bytes;
        checks[i].size = (unsigned long long)size;
        if (PyBytes_AsStringAndSize(PyTuple_GetItem(keys, i), &bytes, &size) < 0) {
            return -1;
        }
        if (size != KEY_SIZE) {
            PyErr_SetString(PyExc_ValueError, "a key has 32 bytes");
            return -1;
        }
        checks[i].key = (const unsigned char *)bytes;
    }
    return 0;
}

/* Returns how many checks succeed before the first that fails, or -1 with an exception set. */
static Py_ssize_t
count_good(PyObject *messages, PyObject *keys)
{
    Py_ssize_t count = PyTuple_Size(messages), good = 0;
    if (count != PyTuple_Size(keys)) {
        PyErr_SetString(PyExc_ValueError, "as many keys as messages are needed");
        return -1;
    }
    check *checks = PyMem_Calloc(count ? (size_t)count : 1, sizeof(check));
    if (checks == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (collect(checks, messages, keys, count) < 0) {
        good = -1;
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        unsigned long long length;
        while (good < count && sodium_open(NULL, &length, checks[good].message, checks[good].size,
                                           checks[good].key) == 0) {
            good++;
        }
        Py_END_ALLOW_THREADS
    }
    PyMem_Free(checks);
    return good;
}

static PyObject *
open_many(PyObject *self, PyObject *arguments)
{
    PyObject *given[2];
    (void)self;
    if (!PyArg_UnpackTuple(arguments, "open_many", 2, 2, &given[0], &given[1])) {
        return NULL;
    }
    /* Other threads may change a list meanwhile, so the tuples keep the bytes alive. */
    PyObject *messages = PySequence_Tuple(given[0]);
    PyObject *keys = messages == NULL ? NULL : PySequence_Tuple(given[1]);
    Py_ssize_t good = keys == NULL ? -1 : count_good(messages, keys);
    Py_XDECREF(messages);
    Py_XDECREF(keys);
    return good < 0 ? NULL : PyLong_FromSsize_t(good);
}

/* Returns the address of crypto_sign_open in PyNaCl's libsodium, or NULL with an exception set. */
static void *
find_open(void)
{
    void *address = NULL;
    PyObject *bindings = PyImport_ImportModule("nacl.bindings"); /* initialises libsodium */
    PyObject *sodium = bindings == NULL ? NULL : PyImport_ImportModule("nacl._sodium");
    PyObject *ffi = sodium == NULL ? NULL : PyObject_GetAttrString(sodium, "ffi");
    PyObject *lib = ffi == NULL ? NULL : PyObject_GetAttrString(sodium, "lib");
    PyObject *pointer = lib == NULL
        ? NULL : PyObject_CallMethod(ffi, "addressof", "Os", lib, "crypto_sign_open");
    PyObject *cast = pointer == NULL
        ? NULL : PyObject_CallMethod(ffi, "cast", "sO", "uintptr_t", pointer);
    PyObject *number = cast == NULL ? NULL : PyNumber_Long(cast);
    if (number != NULL) {
        address = PyLong_AsVoidPtr(number);
    }
    if (address == NULL && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ImportError, "PyNaCl has no crypto_sign_open");
    }
    Py_XDECREF(number);
    Py_XDECREF(cast);
    Py_XDECREF(pointer);
    Py_XDECREF(lib);
    Py_XDECREF(ffi);
    Py_XDECREF(sodium);
    Py_XDECREF(bindings);
    return address;
}

static int
execute(PyObject *module)
{
    (void)module;
    sodium_open = (open_function)(uintptr_t)find_open();
    return sodium_open == NULL ? -1 : 0;
}

static PyMethodDef methods[] = {
    {"open_many", open_many, METH_VARARGS,
     "open_many(messages, keys) -> int\n\n"
     "Count the messages (signature and signed bytes) that verify under their keys (32 bytes\n"
     "each), up to the first that does not. Other threads run meanwhile. Raises ValueError for\n"
     "a key of another size, or for another number of keys than messages."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "methrics_native",
    .m_doc = "Checks many Ed25519 signatures with PyNaCl's libsodium, without Python's lock.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_methrics_native(void)
{
    return PyModuleDef_Init(&definition);
}
