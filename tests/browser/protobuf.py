"""The little of the Protocol Buffers wire format that Chromium's push connection needs."""

VARINT, FIXED64, LENGTH_DELIMITED = 0, 1, 2

Value = int | bytes


class Fixed64(int):
    """A number that is written in eight bytes instead of as a varint."""


def encode_varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the high bit says that more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def encode(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A message from (field number, value) pairs; a repeated field is several pairs."""
    return b"".join(_encode_field(number, value) for number, value in fields)


def _encode_field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, Fixed64):
        return encode_varint(number << 3 | FIXED64) + value.to_bytes(8, "little")
    if isinstance(value, int):
        return encode_varint(number << 3 | VARINT) + encode_varint(value)
    if isinstance(value, str):
        value = value.encode()
    return encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(len(value)) + value


def decode(message: bytes) -> dict[int, list[Value]]:
    """Field number to values. Nested messages stay bytes; numbers are taken as unsigned."""
    fields: dict[int, list[Value]] = {}
    position = 0
    while position < len(message):
        key, position = _decode_varint(message, position)
        value: Value
        match key & 7:
            case 0:
                value, position = _decode_varint(message, position)
            case 1:
                value, position = _decode_fixed(message, position, 8)
            case 2:
                length, position = _decode_varint(message, position)
                value, position = message[position : position + length], position + length
            case 5:
                value, position = _decode_fixed(message, position, 4)
            case other:
                raise ValueError(f"unknown wire type {other}")
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _decode_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7


def _decode_fixed(message: bytes, position: int, size: int) -> tuple[int, int]:
    return int.from_bytes(message[position : position + size], "little"), position + size
