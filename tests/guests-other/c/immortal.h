// What makes a table of handlers an immortal: wit/LAYOUT.md in C.
#pragma once

#include "messagepack.h"

struct method {
    const char *name;
    // Names of the arguments, separated by spaces.
    const char *arguments;
    // Takes the arguments, which are as many as there are names, and appends the result. What it returns, if it is not
    // NULL, is the error that the caller gets; nothing is appended then.
    const char *(*run)(struct reader *arguments, struct bytes *result);
};

// What the program defines: its methods, ended by one without a name; what runs once in its life, before all else; and
// what runs whenever a replica becomes primary.
extern const struct method methods[];
void on_first_start(void);
void on_becoming_primary(void);
