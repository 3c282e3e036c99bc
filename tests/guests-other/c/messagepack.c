#include "messagepack.h"

#include <stdlib.h>
#include <string.h>

void push(struct bytes *to, const void *from, size_t length) {
    if (to->room - to->length < length) {
        to->room = 2 * (to->length + length);
        to->at = realloc(to->at, to->room);
        if (to->at == NULL) abort();
    }
    memcpy(to->at + to->length, from, length);
    to->length += length;
}

// A first byte, and `width` bytes of a number, the highest first.
static void push_number(struct bytes *to, uint8_t head, uint64_t value, int width) {
    uint8_t bytes[9] = {head};
    for (int at = 0; at < width; at++) bytes[1 + at] = (uint8_t)(value >> (8 * (width - 1 - at)));
    push(to, bytes, 1 + width);
}

void encode_nil(struct bytes *to) {
    push_number(to, 0xc0, 0, 0);
}

void encode_int(struct bytes *to, int64_t value) {
    if (value >= -32 && value < 128) push_number(to, (uint8_t)value, 0, 0);
    else push_number(to, 0xd3, (uint64_t)value, 8);
}

void encode_text(struct bytes *to, const char *text, size_t length) {
    if (length < 32) push_number(to, 0xa0 | (uint8_t)length, 0, 0);
    else push_number(to, 0xdb, length, 4);
    push(to, text, length);
}

void encode_array(struct bytes *to, uint32_t count) {
    if (count < 16) push_number(to, 0x90 | (uint8_t)count, 0, 0);
    else push_number(to, 0xdd, count, 4);
}

static bool take(struct reader *from, size_t width, uint64_t *value) {
    if ((size_t)(from->end - from->at) < width) return false;
    *value = 0;
    while (width-- > 0) *value = *value << 8 | *from->at++;
    return true;
}

bool decode_array(struct reader *from, uint32_t *count) {
    uint64_t value;
    if (!take(from, 1, &value)) return false;
    if ((value & 0xf0) == 0x90) value &= 0x0f;
    else if (value == 0xdc ? !take(from, 2, &value) : value != 0xdd || !take(from, 4, &value)) return false;
    *count = (uint32_t)value;
    return true;
}

bool decode_int(struct reader *from, int64_t *value) {
    uint64_t head, bits;
    if (!take(from, 1, &head)) return false;
    if (head < 0x80 || head >= 0xe0) {
        *value = (int8_t)head;
        return true;
    }
    if (head < 0xcc || head > 0xd3) return false;
    // 1, 2, 4 and 8 bytes without a sign, then the same with one.
    size_t width = (size_t)1 << ((head - 0xcc) & 3);
    if (!take(from, width, &bits)) return false;
    bool has_sign = head >= 0xd0;
    if (!has_sign && bits > INT64_MAX) return false;
    unsigned unused = 64 - 8 * (unsigned)width;
    *value = has_sign ? (int64_t)(bits << unused) >> unused : (int64_t)bits;
    return true;
}

bool decode_text(struct reader *from, const char **text, size_t *length) {
    uint64_t value;
    if (!take(from, 1, &value)) return false;
    if ((value & 0xe0) == 0xa0) value &= 0x1f;
    else if (value == 0xd9 ? !take(from, 1, &value)
             : value == 0xda ? !take(from, 2, &value)
                             : value != 0xdb || !take(from, 4, &value)) return false;
    if ((uint64_t)(from->end - from->at) < value) return false;
    *text = (const char *)from->at;
    *length = (size_t)value;
    from->at += value;
    return true;
}
