/* A call, its answer and a question after it as bytes: the bodies of messages on links for calls.
 * Their arguments and results are bytes already, and arrays go beside them as blocks (link.h).
 *
 * Pure functions, any thread. Decoding trusts nothing: GB_EINVAL. What is decoded borrows from the
 * bytes.
 */
#ifndef GB_CLUSTER_CALL_FRAME_H
#define GB_CLUSTER_CALL_FRAME_H

#include "grain/far.h"

enum {
    GB_FRAME_CALL = 32, /* kinds of messages on links for calls */
    GB_FRAME_ANSWER = 33,
    GB_FRAME_ASK = 34, /* behind a call: what does it wait for? */
    GB_CALL_TYPE_BYTES = 255,
    GB_CALL_KEY_BYTES = 1024, /* as many as a key may have */
    GB_CALL_METHOD_BYTES = 255
};

typedef struct gb_call_frame {
    uint64_t number;     /* of the call, chosen by who asks; its answer has it too */
    bool oneway, placed; /* placed: the receiver is to activate it, if nobody has */
    uint8_t hops;        /* silos that passed it on */
    int8_t priority;
    const char *type, *method;
    uint32_t type_size, method_size;
    gb_key key;
    uint64_t left_ns; /* to its deadline; GB_FOREVER: none */
    gb_trace trace;   /* an id of zeros: none */
    const void *bag;  /* of its context, or NULL */
    size_t bag_size;
    const void *bytes; /* its arguments */
    size_t size;
    bool beside; /* they are not here but in the last block */
} gb_call_frame;

int gb_call_frame_encode(gb_buf *out, const gb_call_frame *frame);
int gb_call_frame_decode(gb_call_frame *out, const void *bytes, size_t size);

typedef struct gb_answer_frame {
    uint64_t number;
    int rc;
    uint64_t silo;       /* where the grain was, 0: not said */
    const char *message; /* rc < 0: text, or NULL; ended by message_size, not by NUL */
    size_t message_size;
    const void *bytes; /* its results */
    size_t size;
    bool beside; /* as of calls */
} gb_answer_frame;

int gb_answer_frame_encode(gb_buf *out, const gb_answer_frame *frame);
int gb_answer_frame_decode(gb_answer_frame *out, const void *bytes, size_t size);

typedef struct gb_ask_frame {
    uint64_t number; /* of the call that it is about */
    gb_question question;
} gb_ask_frame;

int gb_ask_frame_encode(gb_buf *out, const gb_ask_frame *frame);
int gb_ask_frame_decode(gb_ask_frame *out, const void *bytes, size_t size);

#endif
