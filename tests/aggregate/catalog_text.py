"""Parts of catalog sources that several test modules share."""

TYPE = """
question = "How many?"
why = "To know."
owner = "Tests"
review = "https://example.org/review"
expires = 2028-07-01
retention_days = 365
entropy_bits = 28
"""
"""Keys that every event type needs."""

CLICKS = f"""
[types.clicks]
kind = "count"
chart = "bar:button"
release = {{ delay = 600, jitter = 600 }}
{TYPE}
[types.clicks.count]
max = 100
window = 86400
[types.clicks.fields.button]
type = "enum"
values = ["ok", "cancel"]
says = "Which button."
"""
"""An event type of kind count."""

WALK = f"""
[types.walk]
kind = "sequence"
chart = "funnel"
one_in = [1, 10]
release = {{ delay = 600, jitter = 600 }}
{TYPE}
[types.walk.sequence]
steps = ["start", "middle", "end"]
offset_edges = [10, 60]
max_steps = 4
[types.walk.fields.variant]
type = "enum"
values = ["a", "b"]
says = "Which design."
"""
"""An event type of kind sequence."""
