// A running total, told to whoever asks. Its state is the variables of the program: nothing is saved or loaded.
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "immortal.h"

static int64_t total = 0;

struct note {
    struct note *next;
    size_t length;
    char text[];
};
static struct note *first_note = NULL, **end_of_notes = &first_note;
static uint32_t notes = 0;

void on_first_start(void) {
    printf("counting in C\n");
}

void on_becoming_primary(void) {
    printf("at %" PRId64 "\n", total);
}

static const char *add(struct reader *arguments, struct bytes *result) {
    int64_t n;
    if (!decode_int(arguments, &n)) return "n is no whole number";
    if (__builtin_add_overflow(total, n, &total)) return "the total would be too large";
    printf("total %" PRId64 "\n", total);
    encode_int(result, total);
    return NULL;
}

static const char *tell_total(struct reader *arguments, struct bytes *result) {
    (void)arguments;
    encode_int(result, total);
    return NULL;
}

static const char *note(struct reader *arguments, struct bytes *result) {
    const char *text;
    size_t length;
    if (!decode_text(arguments, &text, &length)) return "text is no text";
    struct note *new = malloc(sizeof *new + length);
    if (new == NULL) return "there is no memory left";
    *new = (struct note){NULL, length};
    memcpy(new->text, text, length);
    *end_of_notes = new;
    end_of_notes = &new->next;
    encode_int(result, ++notes);
    return NULL;
}

static const char *noted(struct reader *arguments, struct bytes *result) {
    (void)arguments;
    encode_array(result, notes);
    for (struct note *note = first_note; note != NULL; note = note->next) encode_text(result, note->text, note->length);
    return NULL;
}

// What every replica must see alike.
static const char *luck(struct reader *arguments, struct bytes *result) {
    (void)arguments;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return "there is no clock";
    encode_array(result, 2);
    encode_int(result, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    encode_int(result, arc4random() >> 1);
    return NULL;
}

// What it is denied, in the words of its library.
static const char *peek(struct reader *arguments, struct bytes *result) {
    (void)arguments;
    FILE *file = fopen("/etc/hostname", "r");
    if (file != NULL) return "there is a file";
    const char *error = strerror(errno);
    encode_text(result, error, strlen(error));
    return NULL;
}

const struct method methods[] = {
    {"add", "n", add}, {"total", "", tell_total}, {"note", "text", note},
    {"noted", "", noted}, {"luck", "", luck}, {"peek", "", peek}, {NULL, NULL, NULL},
};
