"""A base for stand-ins that have only what a test asks of them."""

from typing import TYPE_CHECKING, Any

# Type checkers take them for whatever is expected, such as a protocol of which one method alone is called.
if TYPE_CHECKING:
    Partial = Any
else:
    Partial = object
