#include "immortal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

enum { RUN_BYTES = 24, MESSAGE_BYTES = 20 };
enum kind { FORK = 1, CALL = 2, REPLY = 3, ERROR = 4, IMPULSE = 5, START = 7, PRIMARY = 8 };

static uint32_t u32_at(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void push_u32(struct bytes *to, uint32_t value) {
    uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16), (uint8_t)(value >> 24)};
    push(to, bytes, sizeof bytes);
}

// FNV-1a.
static uint32_t id_of(const char *name) {
    uint32_t hash = 0x811c9dc5;
    for (; *name != 0; name++) hash = (hash ^ (uint8_t)*name) * 0x01000193;
    return hash;
}

static size_t count_words(const char *words) {
    size_t count = *words != 0;
    for (; *words != 0; words++) count += *words == ' ';
    return count;
}

static const char *run(uint32_t id, struct reader arguments, struct bytes *result) {
    for (const struct method *method = methods; method->name != NULL; method++) {
        if (id_of(method->name) != id) continue;
        uint32_t count;
        if (!decode_array(&arguments, &count) || count != count_words(method->arguments)) {
            return "there are more or fewer arguments than the method takes";
        }
        return method->run(&arguments, result);
    }
    return "there is no such method";
}

// A message from `peer`, and what it brings about.
static void handle(uint32_t cause, uint32_t peer, const uint8_t *message, uint32_t length, struct bytes *effects) {
    static const uint8_t no_call[8] = {0};
    enum kind kind = message[16];
    const uint8_t *call_id = message + 8, *arguments = message + MESSAGE_BYTES;
    if (kind == START) on_first_start();
    if (kind == PRIMARY) on_becoming_primary();
    if (kind != FORK && kind != CALL && kind != IMPULSE) return;

    struct bytes answer = {0};
    const char *error = run(u32_at(message + 4), (struct reader){arguments, arguments + length}, &answer);
    if (error != NULL) encode_text(&answer, error, strlen(error));
    if (memcmp(call_id, no_call, sizeof no_call) != 0) {
        const uint8_t rest[4] = {error == NULL ? REPLY : ERROR};
        push_u32(effects, cause);
        push_u32(effects, peer);
        push_u32(effects, (uint32_t)answer.length);
        push_u32(effects, 0);
        push(effects, call_id, 8);
        push(effects, rest, sizeof rest);
        push(effects, answer.at, answer.length);
    } else if (error != NULL) {
        fprintf(stderr, "not done: %s\n", error);
    }
    free(answer.at);
}

void exports_guest_deliver(guest_list_u8_t *runs, guest_list_u8_t *effects) {
    struct bytes all = {0};
    uint32_t cause = 0;
    const uint8_t *at = runs->ptr, *end = runs->ptr + runs->len;
    while (at < end) {
        uint32_t peer = u32_at(at);
        const uint8_t *message = at + RUN_BYTES, *end_of_run = message + u32_at(at + 16);
        while (message < end_of_run) {
            uint32_t length = u32_at(message);
            handle(cause++, peer, message, length, &all);
            message += MESSAGE_BYTES + length;
        }
        at = end_of_run;
    }
    // Not at each line, as stdout is no terminal.
    fflush(stdout);
    guest_list_u8_free(runs);
    *effects = (guest_list_u8_t){all.at, all.length};
}

static void *allocated(size_t bytes) {
    void *at = malloc(bytes);
    if (at == NULL) abort();
    return at;
}

static guest_list_string_t words(const char *text) {
    guest_list_string_t list = {0};
    list.ptr = allocated((1 + strlen(text)) * sizeof *list.ptr);
    while (*text != 0) {
        size_t length = strcspn(text, " ");
        guest_string_dup_n(&list.ptr[list.len++], text, length);
        text += length + (text[length] == ' ');
    }
    return list;
}

void exports_guest_describe(guest_list_method_t *list) {
    size_t count = 0;
    while (methods[count].name != NULL) count++;
    list->ptr = allocated(count * sizeof *list->ptr);
    list->len = count;
    for (size_t at = 0; at < count; at++) {
        guest_method_t *method = &list->ptr[at];
        method->id = id_of(methods[at].name);
        guest_string_dup(&method->name, methods[at].name);
        method->arguments = words(methods[at].arguments);
        method->message_pack = true;
    }
}
