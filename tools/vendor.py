"""Copies the needed part of libp2p into `node/methrics/_vendor`: `python tools/vendor.py --write`.

libp2p's distribution requires fastecdsa, which has no wheels in the version that libp2p pins, so
that `pip install libp2p` needs a C compiler and GMP. The code that imports fastecdsa (secio and
P-256 keys) is code that this project never runs. So the wheel of methrics contains the modules of
libp2p that it runs, and requires what these modules import.

The script gets the pinned wheel with pip, which checks its hash, and follows the imports from the
modules that `methrics.node.network.libp2p` and the tests name. Modules that only tests need, such
as libp2p's own GossipSub as a peer to talk to, go to `tests/wire/_vendor/stock_libp2p`, and are no
part of the wheel. The script changes only imports, the names of loggers and the protobuf descriptor
pool:

- `libp2p` becomes `methrics._vendor.libp2p` (or `stock_libp2p`), in the names of loggers too.
- A name that comes from a module of ABSENT becomes a class that raises NotImplementedError.
- Generated protobuf modules use a descriptor pool of their own, so that an app may also import
  another version of libp2p.
- The `__init__.py` of a package is emptied, unless a copied module imports a name from it.

`--check` compares the files of both copies with what the script would write.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "node" / "methrics" / "_vendor" / "libp2p"
STOCK_OUT = ROOT / "tests" / "wire" / "_vendor" / "stock_libp2p"
PIN = "libp2p==0.8.1 --hash=sha256:3d53daa20a6a78984c9b4ed1654d771757b187282f90376d7156c2b67828b308"
VERSION = PIN.partition("==")[2].partition(" ")[0]
NEW = "methrics._vendor.libp2p"
STOCK = "stock_libp2p"

ABSENT = (
    "libp2p.crypto.ecc",
    "libp2p.discovery",
    "libp2p.network.health",
    "libp2p.rcmgr.manager",
    "libp2p.relay",
    "libp2p.security.insecure",
    "libp2p.security.pnet",
    "libp2p.security.secio",
    "libp2p.security.tls",
    "libp2p.stream_muxer.mplex",
    "libp2p.transport.cmux",
    "libp2p.transport.quic",
    "libp2p.transport.webrtc",
    "libp2p.transport.websocket",
    "libp2p.utils.paths",
    "libp2p.bitswap",
    "libp2p.kad_dht",
    "libp2p.records",
    "prometheus_client",
)
"""Modules that are not copied, and packages that are not required: transports, discovery, key types
and monitoring that methrics never uses."""

STANDIN = '''"""Stand-ins for parts of libp2p that methrics never uses (made by tools/vendor.py)."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
"""The protobuf types of this copy, apart from those of another libp2p in the same process."""


def absent(name: str) -> Any:
    """A class in the place of `name`. Calling it raises NotImplementedError."""

    def refuse(self: object, *_: object, **__: object) -> None:
        raise NotImplementedError(f"{name} is not part of the libp2p that methrics contains")

    return type(name.rpartition(".")[2], (Exception,), {"__init__": refuse})
'''

STOCK_README = f"""# The part of libp2p that only the tests run

Modules of py-libp2p {VERSION} (MIT and Apache-2.0), copied by `python tools/vendor.py --write`: its
pubsub, as a stock peer for the tests of interoperability. They import all else from the copy in the
wheel. Do not edit these files: change the script.
"""

README = f"""# The part of libp2p that methrics runs

Modules of py-libp2p {VERSION} (MIT and Apache-2.0; see the two license files), copied by
`python tools/vendor.py --write`. Only imports, names of loggers and the protobuf descriptor pool
differ from the original; the script's docstring lists the changes. Do not edit these files: change
the script.
`docs/decisions/0013-vendored-libp2p.md` gives the reason.
"""


def within(name: str, packages: tuple[str, ...]) -> bool:
    """Whether `name` is one of the packages or lies in one."""
    return any(name == one or name.startswith(one + ".") for one in packages)


@dataclass
class Wheel:
    """The files of a wheel, by path."""

    files: dict[str, bytes]

    @classmethod
    def download(cls) -> Wheel:
        """Get the pinned wheel with pip. Raises CalledProcessError if pip cannot."""
        with tempfile.TemporaryDirectory() as folder:
            pinned = Path(folder, "pinned.txt")
            pinned.write_text(PIN + "\n", "utf-8")
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary", ":all:", "--require-hashes", "-r", str(pinned)]
            subprocess.run([*command, "-d", folder], check=True, stdout=subprocess.DEVNULL)
            (path,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(path) as archive:
                return cls({name: archive.read(name) for name in archive.namelist()})

    def path(self, module: str) -> str | None:
        """The file of a module or package, or None if the wheel has none."""
        base = module.replace(".", "/")
        return next((p for p in (f"{base}/__init__.py", f"{base}.py") if p in self.files), None)

    def text(self, path: str) -> str:
        return self.files[path].decode("utf-8")


@dataclass(frozen=True)
class Import:
    """One import statement: the module it names, the names it takes, and where it stands."""

    module: str
    names: tuple[tuple[str, str], ...]
    node: ast.Import | ast.ImportFrom
    typing: bool
    outermost: bool


def imports(module: str, path: str, code: str) -> Iterator[Import]:
    """All imports of a module. `import a.b` takes no names."""
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]

    def walk(node: ast.AST, typing: bool, outermost: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for one in child.names:
                    yield Import(one.name, (), child, typing, outermost)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = package.split(".")[: 1 - child.level or None]
                    base = ".".join([*parts, *([base] if base else [])])
                names = tuple((one.name, one.asname or one.name) for one in child.names)
                yield Import(base, names, child, typing, outermost)
            else:
                checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from walk(child, typing or checked, outermost and not inside)

    return walk(ast.parse(code), False, True)


@dataclass
class Copy:
    """Follows the imports from `starts`, and rewrites what it finds."""

    wheel: Wheel
    modules: set[str] = field(default_factory=set)
    fronts: set[str] = field(default_factory=set)
    """Packages whose `__init__.py` is copied as it is."""
    outer: set[str] = field(default_factory=set)
    """Modules that go to the copy of the tests."""

    def add(self, module: str) -> None:
        """Copy a module, the packages around it, and what it imports."""
        path = self.wheel.path(module)
        if module in self.modules or path is None or within(module, ABSENT):
            return
        self.modules.add(module)
        if "." in module:
            self.add(module.rpartition(".")[0])
        if not path.endswith("__init__.py"):
            self.follow(module, path)

    def take(self, module: str, name: str) -> None:
        """Copy what `from module import name` needs."""
        self.add(module)
        if self.wheel.path(f"{module}.{name}"):
            self.add(f"{module}.{name}")
            return
        path = self.wheel.path(module)
        front = path is not None and path.endswith("__init__.py") and module != "libp2p"
        if path and front and module in self.modules - self.fronts:
            self.fronts.add(module)
            self.follow(module, path)

    def follow(self, module: str, path: str) -> None:
        for one in imports(module, path, self.wheel.text(path)):
            if one.typing:
                continue
            for name, _ in one.names:
                self.take(one.module, name)
            self.add(one.module)

    def rewrite(self, module: str) -> str:
        """The text of a copied module."""
        path = self.wheel.path(module)
        assert path is not None
        code = self.wheel.text(path)
        if path.endswith("__init__.py") and module not in self.fronts:
            return ""
        lines = code.splitlines(keepends=True)
        for one in sorted(imports(module, path, code), key=lambda x: -x.node.lineno):
            if not within(one.module, ABSENT) or one.typing or not one.outermost:
                continue
            first, last = one.node.lineno - 1, (one.node.end_lineno or one.node.lineno)
            lines[first:last] = stand_ins(one)
        code = "".join(lines)
        if "absent(" in code:
            code = after_future(code, f"from {NEW}._absent import absent\n")
        if module in self.outer:
            code = self.crossed(module, path, code)
        return own_pool(renamed(code))

    def crossed(self, module: str, path: str, code: str) -> str:
        """The code of a module for the copy of the tests, in which imports name the copy that has
        the module."""
        lines = code.splitlines(keepends=True)
        for one in imports(module, path, code):
            node = one.node
            if not isinstance(node, ast.ImportFrom) or not within(one.module, ("libp2p",)):
                continue
            inner = {f"{one.module}.{name}" in self.outer for name, _ in one.names}
            stock = one.module in self.outer or inner == {True}
            named = f"from {one.module.replace('libp2p', STOCK, 1) if stock else one.module} import"
            lines[node.lineno - 1] = re.sub(
                r"from [\w.]+ import", named, lines[node.lineno - 1], count=1
            )
        return "".join(lines)


def stand_ins(one: Import) -> list[str]:
    """The lines in the place of an import from an absent module."""
    indent = " " * one.node.col_offset
    if not one.names:
        first = one.module.partition(".")[0]
        return [] if first == "libp2p" else [f'{indent}{first} = absent("{first}")\n']
    return [f'{indent}{own} = absent("{one.module}.{name}")\n' for name, own in one.names]


def after_future(code: str, line: str) -> str:
    """Put an import behind the docstring and the imports from `__future__`."""
    last = 0
    for node in ast.parse(code).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (docstring or future):
            break
        last = node.end_lineno or node.lineno
    lines = code.splitlines(keepends=True)
    return "".join([*lines[:last], line, *lines[last:]])


def renamed(code: str) -> str:
    """Let imports of libp2p, and its loggers, name the copy."""
    code = re.sub(r"^(\s*)from libp2p([. ])", rf"\1from {NEW}\2", code, flags=re.MULTILINE)
    code = re.sub(
        r"^(\s*)import libp2p$", r"\1from methrics._vendor import libp2p", code, flags=re.MULTILINE
    )
    code = re.sub(r"^(\s*)import libp2p\.", rf"\1import {NEW}.", code, flags=re.MULTILINE)
    return re.sub(r'(getLogger\(\s*f?")libp2p\.', rf"\1{NEW}.", code)


def own_pool(code: str) -> str:
    """Let a generated protobuf module add its types to the pool of the copy."""
    return code.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n",
        f"from {NEW} import _absent as _own\n",
    ).replace("_descriptor_pool.Default()", "_own.POOL")


def starts(package: str) -> set[tuple[str, str]]:
    """(module, name) of all that this project imports from a copy, tests included."""
    found = set()
    folders = [ROOT / "node/methrics/node", ROOT / "tests", ROOT / "benchmarks"]
    for path in (one for folder in folders for one in folder.rglob("*.py")):
        code = path.read_text("utf-8")
        if package not in code or "_vendor" in path.parts:
            continue
        for one in imports("", str(path), code):
            if within(one.module, (package,)):
                found |= {("libp2p" + one.module.removeprefix(package), n) for n, _ in one.names}
    return found


def vendored() -> dict[Path, bytes]:
    """Every file of the two copies, by its path."""
    copy = Copy(Wheel.download())
    for module, name in sorted(starts(NEW)):
        copy.take(module, name)
    inner = set(copy.modules)
    for module, name in sorted(starts(STOCK)):
        copy.take(module, name)
    copy.outer = copy.modules - inner
    files = {OUT / name: b"" for name in ("py.typed",)}
    files |= {OUT / "_absent.py": STANDIN.encode(), OUT / "README.md": README.encode()}
    files[STOCK_OUT / "README.md"] = STOCK_README.encode()
    for module in copy.modules:
        path = copy.wheel.path(module)
        assert path is not None
        code = copy.rewrite(module).encode()
        out = STOCK_OUT if module in copy.outer else OUT
        if out is OUT or code:  # a package of the tests needs no empty `__init__.py`
            files[out / path.removeprefix("libp2p/")] = code
        stub = path.removesuffix(".py") + ".pyi"
        if out is OUT and stub in copy.wheel.files:
            files[OUT / stub.removeprefix("libp2p/")] = renamed(copy.wheel.text(stub)).encode()
    for name, content in copy.wheel.files.items():
        if re.search(r"dist-info/.*LICENSE-", name):
            files[OUT / name.rpartition("/")[2]] = content
    return files


def differences(wanted: dict[Path, bytes]) -> list[str]:
    """Paths that are missing, changed or left over, within the project."""
    here = {
        path: path.read_bytes()
        for out in (OUT, STOCK_OUT)
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    changed = (one for one in here.keys() | wanted.keys() if here.get(one) != wanted.get(one))
    return sorted(str(one.relative_to(ROOT)) for one in changed)


def main(arguments: list[str]) -> int:
    """Entry point. Exit code 1: `--check` found a difference."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true")
    mode.add_argument("--check", action="store_true")
    chosen = parser.parse_args(arguments)
    wanted = vendored()
    changed = differences(wanted)
    if chosen.check:
        print("\n".join(changed))
        return 1 if changed else 0
    for name in changed:
        path = ROOT / name
        if path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wanted[path])
        else:
            path.unlink()
    print(f"{len(changed)} files changed, {len(wanted)} in all")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
