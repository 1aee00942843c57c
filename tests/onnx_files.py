"""Real ONNX networks of one operation, written with a few lines of Protocol Buffers so that no package is needed."""


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(tag: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(tag * 8) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(tag * 8 + 2) + varint(len(content)) + content


def value_info(name: str, shape: list[int | str]) -> bytes:
    sides = b"".join(field(1, field(1, s) if isinstance(s, int) else field(2, s)) for s in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, sides)))


def onnx_network(operation: str, shape: list[int | str]) -> bytes:
    """`operation` of the images and, for the mean over the image, the result; the shape of the input is given."""
    node = field(1, "images") + field(2, "result") + field(4, operation)
    graph = (
        field(1, node)
        + field(2, "g")
        + field(11, value_info("images", shape))
        + field(12, value_info("result", []))
    )
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
