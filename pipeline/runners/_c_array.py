"""A file's bytes as a C array, for firmware that has no file system.

TFLite Micro reads a model where it lies, so that the array is aligned to 16 bytes as its flatbuffer wants.
"""

from __future__ import annotations

import re
import textwrap
from hashlib import sha256

_BYTES_A_LINE = 12


def c_array(
    content: bytes, *, stem: str = "model", symbol: str = "g_model", what: str = "model.tflite"
) -> dict[str, bytes]:
    """Return `<stem>.cc` and `<stem>.h`, which define `symbol` and `<symbol>_size`.

    what: whose bytes these are, for the comment.
    """
    said = re.sub(r"[^\x20-\x7e]|\\", "?", what)  # a comment that no newline and no backslash ends
    guard = re.sub(r"\W", "_", f"{stem}.h".upper(), flags=re.ASCII) + "_"
    lines = [
        f"    {', '.join(f'0x{byte:02x}' for byte in content[start : start + _BYTES_A_LINE])},"
        for start in range(0, len(content), _BYTES_A_LINE)
    ]
    source = "\n".join(
        [
            f"// {said}, {len(content)} bytes, SHA-256 {sha256(content).hexdigest()}",
            f'#include "{stem}.h"\n',
            f"alignas(16) const unsigned char {symbol}[{symbol}_size] = {{",
            *lines,
            "};\n",
        ]
    )
    header = textwrap.dedent(
        f"""\
        #ifndef {guard}
        #define {guard}

        #include <cstddef>

        // {said}, SHA-256 {sha256(content).hexdigest()}
        constexpr std::size_t {symbol}_size = {len(content)};
        alignas(16) extern const unsigned char {symbol}[{symbol}_size];

        #endif  // {guard}
        """
    )
    return {f"{stem}.cc": source.encode(), f"{stem}.h": header.encode()}
