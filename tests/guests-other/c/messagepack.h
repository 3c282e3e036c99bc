// The part of MessagePack that the counter takes and gives: whole numbers, texts, arrays and nil.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes that grow. All zeros is empty.
struct bytes {
    uint8_t *at;
    size_t length;
    size_t room;
};

void push(struct bytes *to, const void *from, size_t length);

void encode_nil(struct bytes *to);
void encode_int(struct bytes *to, int64_t value);
void encode_text(struct bytes *to, const char *text, size_t length);
void encode_array(struct bytes *to, uint32_t count);

// What is left to be read.
struct reader {
    const uint8_t *at;
    const uint8_t *end;
};

// Each takes a value off the front, and gives false if there is another one. A text is not ended by a zero.
bool decode_array(struct reader *from, uint32_t *count);
bool decode_int(struct reader *from, int64_t *value);
bool decode_text(struct reader *from, const char **text, size_t *length);
