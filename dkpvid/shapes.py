"""Shape annotations: `Float[ndarray, "frame keypoint 2"]`.

With jaxtyping installed (tests, development) these are jaxtyping's own types, and the tests check them
at run time. Without it they reduce to the plain array type, so users do not need the package.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt8
else:
    try:
        from jaxtyping import Bool, Float, Int, UInt8
    except ImportError:

        class _PlainArray:
            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Float = Int = UInt8 = _PlainArray

__all__ = ["Bool", "Float", "Int", "UInt8"]
