/*
 * The client's end of a channel for kernel drivers, in one header: C99, no C runtime, no memory of its own.
 *
 * It is a second implementation of docs/protocol.md, and needs nothing else of xshm. It works on a section that the caller has mapped,
 * and calls the kernel for nothing: where an event is to be set, it calls a function that the caller gave. In user mode it works too.
 *
 *     xshm_driver_t channel;
 *     xshm_driver_u64 ends[250];               in memory that outlives the channel, not in the section
 *     xshm_driver_open(&channel, base, size, ends, 250, set_event, context);
 *     xshm_driver_hello(&channel, pid);        then wait for the acknowledgement (event 5), or look now and then:
 *     xshm_driver_answer(&channel);            until it is no longer XSHM_DRIVER_WAITING
 *     for (;;) {
 *         while (xshm_driver_receive(&channel, buffer, sizeof buffer, &length) == XSHM_DRIVER_OK) ...
 *         if (xshm_driver_sleep_for_data(&channel) == XSHM_DRIVER_OK) wait for event 0;
 *         xshm_driver_awake(&channel, XSHM_DRIVER_DATA);
 *     }
 *     xshm_driver_leave(&channel);
 *
 * Trust. The section is hostile: each value in it is read once, checked, and only the copy is used; positions are masked, lengths are
 * bounded, and so is every loop. The worst that a peer can do is to send nonsense within the size limits, and to end the session.
 *
 * Threads. One thread may send and another one receive at the same time. Everything else is one thread's: open, hello, answer
 * and leave must not run beside any other call.
 *
 * IRQL. Nothing here waits or takes a lock. Functions touch the section, the channel, `ends` and the caller's buffers: where all of
 * these are non-paged (a section whose pages are locked by an MDL, say), they may be called at IRQL <= DISPATCH_LEVEL. A view made by
 * ZwMapViewOfSection is pageable, and belongs to one process: then they are for IRQL <= APC_LEVEL, in that process. The caller's
 * function that sets events runs at the caller's IRQL; KeSetEvent with Wait FALSE is good up to DISPATCH_LEVEL.
 *
 * A receive copies at most 65,535 bytes, and tries at most 512 times where the sender evicts what it copies. xshm_driver_open costs a
 * few reads.
 *
 * Processors: x86, x64 and arm64. Compilers: GCC, Clang, MSVC.
 */
#ifndef XSHM_DRIVER_H
#define XSHM_DRIVER_H

#ifdef __cplusplus
extern "C" {
#endif

typedef unsigned char xshm_driver_u8;
typedef unsigned int xshm_driver_u32;
typedef unsigned long long xshm_driver_u64;
#if defined(_WIN64)
typedef unsigned long long xshm_driver_size;
#else
typedef unsigned long xshm_driver_size;
#endif

/* What a call came to. */
enum {
    XSHM_DRIVER_OK = 0,
    /* No message. */
    XSHM_DRIVER_EMPTY,
    /* No room, and nothing was evicted. */
    XSHM_DRIVER_FULL,
    /* The sender evicts faster than messages can be taken. Try again. */
    XSHM_DRIVER_BUSY,
    /* The message is longer than the buffer; it stays in the queue, and the length says how long it is. */
    XSHM_DRIVER_BUFFER_TOO_SMALL,
    /* A message has 2 to xshm_driver_longest_message() bytes. */
    XSHM_DRIVER_BAD_SIZE,
    /* The hello has not been answered yet. */
    XSHM_DRIVER_WAITING,
    /* Another client has the channel, or asks for it. */
    XSHM_DRIVER_TAKEN,
    /* The server did not accept this hello. */
    XSHM_DRIVER_REFUSED,
    /* There is no session: none yet, or the server ended it, or left. All that it sent was received. */
    XSHM_DRIVER_OVER,
    /* The peer wrote what it can't have written by the rules. The session is over: leave. */
    XSHM_DRIVER_CORRUPTED,
    /* The section is no channel of this version; `reason` says why. */
    XSHM_DRIVER_INCOMPATIBLE,
    /* An argument can't be; `reason` says which. */
    XSHM_DRIVER_INVALID,
    /* There is no need to sleep: look now. */
    XSHM_DRIVER_LOOK
};

/* A channel's events, by their numbers. */
enum {
    XSHM_DRIVER_EVENT_S2C_DATA = 0,   /* the server sent, and we slept: wait for it */
    XSHM_DRIVER_EVENT_C2S_DATA = 1,   /* we sent, and the server slept: set it when a function says so */
    XSHM_DRIVER_EVENT_S2C_SPACE = 2,  /* we took a message, and the server slept: set it when a function says so */
    XSHM_DRIVER_EVENT_C2S_SPACE = 3,  /* the server took a message, and we slept: wait for it */
    XSHM_DRIVER_EVENT_REQUEST = 4,    /* our request: set it when a function says so */
    XSHM_DRIVER_EVENT_ACKNOWLEDGE = 5,/* the server answered: wait for it */
    XSHM_DRIVER_EVENT_DISCONNECT = 6  /* we left, or the server did: set it when a function says so; waiting for it is a choice */
};

/* Bits of a wake word: arguments of xshm_driver_awake and xshm_driver_always. */
enum {
    XSHM_DRIVER_DATA = 1,
    XSHM_DRIVER_SPACE = 2,
    XSHM_DRIVER_HURRY = 4,
    XSHM_DRIVER_ALWAYS_DATA = 8,
    XSHM_DRIVER_ALWAYS_SPACE = 16
};

/* Sets an event of the channel, by its number. Called by hello, try_send, send, receive and leave. */
typedef void xshm_driver_signal_t(void *context, unsigned event);

/* One channel. Its fields are for reading; all of them are this header's to write. */
typedef struct xshm_driver {
    /* Of XSHM_DRIVER_INCOMPATIBLE and _INVALID. */
    const char *reason;
    /* What the section says of itself, read once. */
    xshm_driver_u32 capacity;
    xshm_driver_u32 message_limit;
    xshm_driver_u32 flags;
    xshm_driver_u32 server_pid;
    xshm_driver_u64 instance;
    /* The session, if there is one. */
    xshm_driver_u32 generation;
    int connected;
    /* The peer broke the rules. Either thread may find out. */
    volatile int corrupted;
    xshm_driver_u64 word;

    volatile xshm_driver_u8 *base;
    xshm_driver_signal_t *signal;
    void *context;

    struct {
        volatile xshm_driver_u8 *header;
        volatile xshm_driver_u8 *ring;
        xshm_driver_u64 write_pos;
        xshm_driver_u64 read_pos;
        xshm_driver_u64 *ends;
        xshm_driver_u32 ends_size;
        xshm_driver_u32 first;
        xshm_driver_u32 queued;
        xshm_driver_u64 sequence;
        xshm_driver_u64 sent;
        xshm_driver_u64 evicted;
    } sender;

    struct {
        volatile xshm_driver_u8 *header;
        volatile xshm_driver_u8 *ring;
        xshm_driver_u64 read_pos;
        xshm_driver_u64 sequence;
        int moved;
        xshm_driver_u64 received;
        xshm_driver_u64 lost;
    } receiver;
} xshm_driver_t;

/* ------------------------------------------------------------------------------------------------------ atomics */

/*
 * xshm_driver_load32/64      acquire
 * xshm_driver_load64_sc      sequentially consistent
 * xshm_driver_store64        release
 * xshm_driver_swap64         compare-and-swap of the exact value, sequentially consistent; gives what it found
 * xshm_driver_fence          sequentially consistent
 * xshm_driver_get, _put      relaxed words of a payload, which may be torn
 *
 * On 32-bit x86 a plain access has 32 bits, so that 64 are loaded and stored by compare-and-swap; payloads need no whole words.
 */
#if defined(_MSC_VER) && !defined(__clang__)

#include <intrin.h>

#if defined(_M_ARM64)
#define XSHM_DRIVER_BARRIER() __dmb(_ARM64_BARRIER_ISH)
#else
#define XSHM_DRIVER_BARRIER() _ReadWriteBarrier()
#endif

static __inline xshm_driver_u64 xshm_driver_swap64(volatile void *at, xshm_driver_u64 from, xshm_driver_u64 to)
{
    return (xshm_driver_u64)_InterlockedCompareExchange64((volatile __int64 *)at, (__int64)to, (__int64)from);
}

static __inline void xshm_driver_fence(void)
{
#if defined(_M_ARM64)
    __dmb(_ARM64_BARRIER_ISH);
#else
    volatile long place = 0;
    (void)_InterlockedOr(&place, 0);
#endif
}

static __inline xshm_driver_u32 xshm_driver_load32(volatile void *at)
{
    xshm_driver_u32 value = *(volatile xshm_driver_u32 *)at;
    XSHM_DRIVER_BARRIER();
    return value;
}

static __inline xshm_driver_u64 xshm_driver_load64(volatile void *at)
{
#if defined(_M_IX86)
    return xshm_driver_swap64(at, 0, 0);
#else
    xshm_driver_u64 value = *(volatile xshm_driver_u64 *)at;
    XSHM_DRIVER_BARRIER();
    return value;
#endif
}

/* Each sequentially consistent load here stands behind a fence or a swap. */
static __inline xshm_driver_u64 xshm_driver_load64_sc(volatile void *at) { return xshm_driver_load64(at); }

static __inline void xshm_driver_store64(volatile void *at, xshm_driver_u64 value)
{
#if defined(_M_IX86)
    xshm_driver_u64 old = *(volatile xshm_driver_u64 *)at, found;
    while ((found = xshm_driver_swap64(at, old, value)) != old) old = found;
#else
    XSHM_DRIVER_BARRIER();
    *(volatile xshm_driver_u64 *)at = value;
#endif
}

#elif defined(__GNUC__) || defined(__clang__)

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "xshm_driver.h: little-endian processors only"
#endif

static __inline__ xshm_driver_u64 xshm_driver_swap64(volatile void *at, xshm_driver_u64 from, xshm_driver_u64 to)
{
    return __sync_val_compare_and_swap((volatile xshm_driver_u64 *)at, from, to);
}

static __inline__ void xshm_driver_fence(void) { __sync_synchronize(); }

static __inline__ xshm_driver_u32 xshm_driver_load32(volatile void *at)
{
    return __atomic_load_n((volatile xshm_driver_u32 *)at, __ATOMIC_ACQUIRE);
}

static __inline__ xshm_driver_u64 xshm_driver_load64(volatile void *at)
{
#if defined(__i386__)
    return xshm_driver_swap64(at, 0, 0);
#else
    return __atomic_load_n((volatile xshm_driver_u64 *)at, __ATOMIC_ACQUIRE);
#endif
}

static __inline__ xshm_driver_u64 xshm_driver_load64_sc(volatile void *at)
{
#if defined(__i386__)
    return xshm_driver_swap64(at, 0, 0);
#else
    return __atomic_load_n((volatile xshm_driver_u64 *)at, __ATOMIC_SEQ_CST);
#endif
}

static __inline__ void xshm_driver_store64(volatile void *at, xshm_driver_u64 value)
{
#if defined(__i386__)
    xshm_driver_u64 old = 0, found;
    while ((found = xshm_driver_swap64(at, old, value)) != old) old = found;
#else
    __atomic_store_n((volatile xshm_driver_u64 *)at, value, __ATOMIC_RELEASE);
#endif
}

#else
#error "xshm_driver.h: GCC, Clang or MSVC"
#endif

#if defined(_M_IX86) || defined(__i386__)
static __inline xshm_driver_u64 xshm_driver_get(volatile void *at)
{
    volatile xshm_driver_u32 *halves = (volatile xshm_driver_u32 *)at;
    xshm_driver_u32 low = halves[0];
    return low | (xshm_driver_u64)halves[1] << 32;
}

static __inline void xshm_driver_put(volatile void *at, xshm_driver_u64 value)
{
    volatile xshm_driver_u32 *halves = (volatile xshm_driver_u32 *)at;
    halves[0] = (xshm_driver_u32)value;
    halves[1] = (xshm_driver_u32)(value >> 32);
}
#else
static __inline xshm_driver_u64 xshm_driver_get(volatile void *at) { return *(volatile xshm_driver_u64 *)at; }

static __inline void xshm_driver_put(volatile void *at, xshm_driver_u64 value) { *(volatile xshm_driver_u64 *)at = value; }
#endif

/* ------------------------------------------------------------------------------------------------------- layout */

#define XSHM_DRIVER_MAGIC 0x5853484Du
#define XSHM_DRIVER_VERSION 0x00020000u

#define XSHM_DRIVER_FLAG_EVENTS 1u
#define XSHM_DRIVER_FLAG_REJECT 2u

/* Offsets in the control block, and in a ring's header. */
#define XSHM_DRIVER_AT_GENERATION 8
#define XSHM_DRIVER_AT_SERVER_STATE 12
#define XSHM_DRIVER_AT_CLIENT_STATE 16
#define XSHM_DRIVER_AT_SERVER_WAKE 24
#define XSHM_DRIVER_AT_CLIENT_WAKE 32
#define XSHM_DRIVER_AT_READ_POS 8

/* States of the client word. */
#define XSHM_DRIVER_IDLE 0u
#define XSHM_DRIVER_HELLO 1u
#define XSHM_DRIVER_READY 2u
#define XSHM_DRIVER_LEFT 3u
#define XSHM_DRIVER_ENDED 4u
#define XSHM_DRIVER_WAS_REFUSED 5u

#define XSHM_DRIVER_FRAME 64u
#define XSHM_DRIVER_SEQUENCES ((xshm_driver_u64)1 << 44)
#define XSHM_DRIVER_MESSAGE 1u
#define XSHM_DRIVER_PAD 2u

/* The longest message of this channel, in bytes. */
static __inline xshm_driver_u32 xshm_driver_longest_message(const xshm_driver_t *channel)
{
    xshm_driver_u32 half = channel->capacity / 2 - 8;
    return half < 65535u ? half : 65535u;
}

static __inline xshm_driver_u64 xshm_driver_frame_size(xshm_driver_u32 length)
{
    return ((xshm_driver_u64)length + 8 + XSHM_DRIVER_FRAME - 1) & ~(xshm_driver_u64)(XSHM_DRIVER_FRAME - 1);
}

static __inline xshm_driver_u64 xshm_driver_with_state(xshm_driver_u64 word, xshm_driver_u32 state)
{
    return (word & ~(xshm_driver_u64)15) | state;
}

static __inline int xshm_driver_fail(xshm_driver_t *channel, int code, const char *reason)
{
    channel->reason = reason;
    return code;
}

static __inline int xshm_driver_broken(xshm_driver_t *channel)
{
    channel->corrupted = 1;
    return XSHM_DRIVER_CORRUPTED;
}

/* A place in a ring: any position leads into it. */
static __inline volatile xshm_driver_u8 *xshm_driver_place(
    const xshm_driver_t *channel, volatile xshm_driver_u8 *ring, xshm_driver_u64 position)
{
    return ring + (xshm_driver_size)(position & (channel->capacity - 1));
}

/* Bytes from a position to the end of the ring. */
static __inline xshm_driver_u64 xshm_driver_left(const xshm_driver_t *channel, xshm_driver_u64 position)
{
    return channel->capacity - (position & (channel->capacity - 1));
}

/*
 * Checks a mapped section of `size` bytes. `ends` has room for `ends_size` numbers, at least one: the number of messages that this end queues at
 * most, if the channel allows as many (250 unless the server chose otherwise). `signal` may be NULL on a channel without events.
 *
 * XSHM_DRIVER_OK; XSHM_DRIVER_INCOMPATIBLE, XSHM_DRIVER_INVALID. Nothing was written to the section.
 */
static __inline int xshm_driver_open(xshm_driver_t *channel, void *base, xshm_driver_size size, xshm_driver_u64 *ends,
    xshm_driver_u32 ends_size, xshm_driver_signal_t *signal, void *context)
{
    volatile xshm_driver_u8 *at = (volatile xshm_driver_u8 *)base;
    xshm_driver_u64 needed, rounded;
    channel->connected = 0;
    channel->corrupted = 0;
    channel->word = 0;
    channel->generation = 0;
    channel->base = at;
    channel->signal = signal;
    channel->context = context;
    channel->sender.ends = ends;
    channel->sender.ends_size = ends_size;
    channel->reason = "";
    if (!base || ((xshm_driver_size)base & 7) != 0) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INVALID, "the section must be mapped, at a multiple of 8");
    }
    if (!ends || ends_size == 0) return xshm_driver_fail(channel, XSHM_DRIVER_INVALID, "there is no room for ends");
    if (size < 64) return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the section is too small");
    if (xshm_driver_load32(at) != XSHM_DRIVER_MAGIC) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the magic is another one");
    }
    if (xshm_driver_load32(at + 4) != XSHM_DRIVER_VERSION) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the protocol's version is another one");
    }
    channel->flags = xshm_driver_load32(at + 48);
    if ((channel->flags & ~(XSHM_DRIVER_FLAG_EVENTS | XSHM_DRIVER_FLAG_REJECT)) != 0) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the flags are not those of a channel for one client");
    }
    if ((channel->flags & XSHM_DRIVER_FLAG_EVENTS) != 0 && !signal) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INVALID, "the channel has events, and the channel has none");
    }
    channel->capacity = xshm_driver_load32(at + 40);
    channel->message_limit = xshm_driver_load32(at + 44);
    if (channel->capacity < 4096 || channel->capacity > 1u << 30 || (channel->capacity & (channel->capacity - 1)) != 0) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the ring's size can't be");
    }
    if (channel->message_limit == 0 || channel->message_limit > channel->capacity / XSHM_DRIVER_FRAME - 1) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the message limit can't be");
    }
    needed = 192 + 2 * (xshm_driver_u64)channel->capacity;
    rounded = (needed + 0xffff) & ~(xshm_driver_u64)0xffff;
    if (size < needed || size > rounded) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the section's size is not that of its rings");
    }
    channel->server_pid = xshm_driver_load32(at + 52);
    channel->instance = xshm_driver_get(at + 56);
    channel->receiver.header = at + 64;
    channel->receiver.ring = at + 128;
    channel->sender.header = at + 128 + channel->capacity;
    channel->sender.ring = at + 192 + channel->capacity;
    return XSHM_DRIVER_OK;
}

static __inline void xshm_driver_set(const xshm_driver_t *channel, unsigned event)
{
    if ((channel->flags & XSHM_DRIVER_FLAG_EVENTS) != 0) channel->signal(channel->context, event);
}

/* --------------------------------------------------------------------------------------------------- wake words */

/* Sets and clears bits of a wake word of this generation. Gives the bits before by `before`. */
static __inline int xshm_driver_change(
    xshm_driver_t *channel, unsigned at, xshm_driver_u32 set, xshm_driver_u32 clear, xshm_driver_u32 *before)
{
    volatile xshm_driver_u8 *word = channel->base + at;
    xshm_driver_u64 now = xshm_driver_load64(word), found;
    unsigned tries;
    for (tries = 0; tries < 1000; tries++) {
        xshm_driver_u32 bits = (xshm_driver_u32)now, wanted = (bits | set) & ~clear;
        *before = bits;
        if ((xshm_driver_u32)(now >> 32) != channel->generation || wanted == bits) return XSHM_DRIVER_OK;
        found = xshm_driver_swap64(word, now, (now >> 32) << 32 | wanted);
        if (found == now) return XSHM_DRIVER_OK;
        now = found;
    }
    /* No peer that keeps to the rules changes it so often. */
    return xshm_driver_broken(channel);
}

/* Sets an event if the server sleeps and waits for it, or wants it set always. */
static __inline int xshm_driver_announce(xshm_driver_t *channel, xshm_driver_u32 bit, xshm_driver_u32 always, unsigned event)
{
    /* The partner of the fence between the setting of the bit and the last look. */
    xshm_driver_u32 bits = (xshm_driver_u32)xshm_driver_load64_sc(channel->base + XSHM_DRIVER_AT_SERVER_WAKE);
    int code;
    if ((bits & (bit | always)) == 0) return XSHM_DRIVER_OK;
    code = xshm_driver_change(channel, XSHM_DRIVER_AT_SERVER_WAKE, 0, bit, &bits);
    if (code == XSHM_DRIVER_OK && (bits & (bit | always)) != 0) xshm_driver_set(channel, event);
    return code;
}

/* Have the server set our events for each message (XSHM_DRIVER_ALWAYS_DATA) or each message taken (XSHM_DRIVER_ALWAYS_SPACE) of this
   session: for waits without xshm_driver_sleep_for_data. Look for messages once after this call. */
static __inline int xshm_driver_always(xshm_driver_t *channel, xshm_driver_u32 bits)
{
    int code = xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, bits, 0, &bits);
    xshm_driver_fence();
    return code;
}

/* After each sleep, whatever ended it: XSHM_DRIVER_DATA, XSHM_DRIVER_SPACE, or both. */
static __inline int xshm_driver_awake(xshm_driver_t *channel, xshm_driver_u32 bits)
{
    return xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, 0, bits, &bits);
}

/* --------------------------------------------------------------------------------------------------- the session */

/* Whether the session lives: two reads of a line that rarely changes. */
static __inline int xshm_driver_is_connected(const xshm_driver_t *channel)
{
    return channel->connected && !channel->corrupted &&
           xshm_driver_load64(channel->base + XSHM_DRIVER_AT_CLIENT_STATE) == channel->word &&
           xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) == 1;
}

/* Swaps our exact word for the same attempt in another state. */
static __inline int xshm_driver_move(xshm_driver_t *channel, xshm_driver_u64 from, xshm_driver_u32 to)
{
    return xshm_driver_swap64(channel->base + XSHM_DRIVER_AT_CLIENT_STATE, from, xshm_driver_with_state(from, to)) == from;
}

/*
 * Asks the server for a session, and sets the request event. `pid` is the id of the process whose end shall end the session, as the
 * server knows it: usually that of the process that handed over the section.
 *
 * XSHM_DRIVER_OK: wait for the acknowledgement and call xshm_driver_answer. XSHM_DRIVER_TAKEN: try again later. XSHM_DRIVER_OVER: the
 * server has left.
 */
static __inline int xshm_driver_hello(xshm_driver_t *channel, xshm_driver_u32 pid)
{
    volatile xshm_driver_u8 *at = channel->base + XSHM_DRIVER_AT_CLIENT_STATE;
    xshm_driver_u64 word = xshm_driver_load64(at), hello;
    xshm_driver_u32 state = (xshm_driver_u32)word & 15;
    channel->connected = 0;
    channel->corrupted = 0;
    if (xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) != 1) return XSHM_DRIVER_OVER;
    if (state == XSHM_DRIVER_IDLE || state == XSHM_DRIVER_LEFT || state == XSHM_DRIVER_WAS_REFUSED) {
        hello = XSHM_DRIVER_HELLO | ((((word >> 4) + 1) & 0x0fffffff) << 4) | (xshm_driver_u64)pid << 32;
        if (xshm_driver_swap64(at, word, hello) == word) {
            channel->word = hello;
            xshm_driver_set(channel, XSHM_DRIVER_EVENT_REQUEST);
            return XSHM_DRIVER_OK;
        }
    }
    /* Somebody else is there. A client that died right after its hello could not signal it, and what looks like a session may be
     * garbage: the server may know of neither. */
    xshm_driver_set(channel, XSHM_DRIVER_EVENT_REQUEST);
    return XSHM_DRIVER_TAKEN;
}

/* Begins a session, both rings empty. */
static __inline void xshm_driver_begin(xshm_driver_t *channel, xshm_driver_u64 ready, xshm_driver_u32 generation)
{
    xshm_driver_u64 start = (xshm_driver_u64)(generation & 0xffff) << 48;
    channel->word = ready;
    channel->generation = generation;
    channel->sender.write_pos = start;
    channel->sender.read_pos = start;
    channel->sender.first = 0;
    channel->sender.queued = 0;
    channel->sender.sequence = 0;
    channel->sender.sent = 0;
    channel->sender.evicted = 0;
    channel->receiver.read_pos = start;
    channel->receiver.sequence = 0;
    channel->receiver.moved = 0;
    channel->receiver.received = 0;
    channel->receiver.lost = 0;
    channel->connected = 1;
}

/*
 * Looks for the answer to our hello. XSHM_DRIVER_OK: the session has begun. XSHM_DRIVER_WAITING: not yet. XSHM_DRIVER_REFUSED.
 * XSHM_DRIVER_OVER: the server has left, and the hello is withdrawn.
 */
static __inline int xshm_driver_answer(xshm_driver_t *channel)
{
    volatile xshm_driver_u8 *at = channel->base + XSHM_DRIVER_AT_CLIENT_STATE;
    xshm_driver_u64 hello = channel->word, ready = xshm_driver_with_state(hello, XSHM_DRIVER_READY), word;
    if (channel->connected || ((xshm_driver_u32)hello & 15) != XSHM_DRIVER_HELLO) return XSHM_DRIVER_OVER;
    if (xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) != 1 &&
        xshm_driver_move(channel, hello, XSHM_DRIVER_IDLE)) {
        channel->word = 0;
        return XSHM_DRIVER_OVER;
    }
    word = xshm_driver_load64(at);
    if (word == hello) return XSHM_DRIVER_WAITING;
    if (word == ready || word == xshm_driver_with_state(hello, XSHM_DRIVER_ENDED)) {
        /* Written before the word became ready. */
        xshm_driver_begin(channel, ready, xshm_driver_load32(channel->base + XSHM_DRIVER_AT_GENERATION));
        return XSHM_DRIVER_OK;
    }
    channel->word = 0;
    return XSHM_DRIVER_REFUSED;
}

/* Our last access to the section: leaves the session, or takes back a hello. Afterwards the section may be unmapped. */
static __inline void xshm_driver_leave(xshm_driver_t *channel)
{
    xshm_driver_u64 word = channel->word, ready = xshm_driver_with_state(word, XSHM_DRIVER_READY);
    int left = 0;
    if (((xshm_driver_u32)word & 15) == XSHM_DRIVER_HELLO && xshm_driver_move(channel, word, XSHM_DRIVER_IDLE)) {
        channel->word = 0;
        return;
    }
    if (word != 0) {
        left = xshm_driver_move(channel, ready, XSHM_DRIVER_LEFT) ||
               xshm_driver_move(channel, xshm_driver_with_state(word, XSHM_DRIVER_ENDED), XSHM_DRIVER_LEFT);
    }
    channel->word = 0;
    channel->connected = 0;
    if (left) {
        xshm_driver_set(channel, XSHM_DRIVER_EVENT_C2S_DATA);
        xshm_driver_set(channel, XSHM_DRIVER_EVENT_S2C_SPACE);
        xshm_driver_set(channel, XSHM_DRIVER_EVENT_DISCONNECT);
        xshm_driver_set(channel, XSHM_DRIVER_EVENT_REQUEST);
    }
}

/* ----------------------------------------------------------------------------------------------------- receiving */

/* Goes to where the sender moved read_pos. 1: it had moved. 0: it had not. -1: it went where no frame starts. */
static __inline int xshm_driver_jump(xshm_driver_t *channel, xshm_driver_u64 read_pos)
{
    xshm_driver_u64 ahead = read_pos - channel->receiver.read_pos;
    if (ahead == 0) return 0;
    if (ahead > (xshm_driver_u64)1 << 47 || read_pos % XSHM_DRIVER_FRAME != 0) return -1;
    channel->receiver.read_pos = read_pos;
    channel->receiver.moved = 1;
    return 1;
}

static __inline int xshm_driver_follow(xshm_driver_t *channel)
{
    /* Acquires what the sender did before it moved it. */
    return xshm_driver_jump(channel, xshm_driver_load64(channel->receiver.header + XSHM_DRIVER_AT_READ_POS));
}

/* What stands at our position. 1: a message, whose place, length and sequence are stored. 0: nothing. -1: no frame. */
static __inline int xshm_driver_frame(
    const xshm_driver_t *channel, xshm_driver_u64 *start, xshm_driver_u32 *length, xshm_driver_u64 *sequence)
{
    xshm_driver_u64 at = channel->receiver.read_pos, header, gap;
    header = xshm_driver_load64(xshm_driver_place(channel, channel->receiver.ring, at));
    if (header == 0) return 0;
    *sequence = header >> 20;
    gap = (*sequence - channel->receiver.sequence) & (XSHM_DRIVER_SEQUENCES - 1);
    if (channel->receiver.moved ? gap == 0 || gap >= XSHM_DRIVER_SEQUENCES / 2 : gap != 0) return -1;
    if ((header >> 16 & 15) == XSHM_DRIVER_PAD) {
        at += xshm_driver_left(channel, at);
        header = xshm_driver_load64(xshm_driver_place(channel, channel->receiver.ring, at));
        if (header >> 20 != *sequence) return -1;
    }
    *start = at;
    *length = (xshm_driver_u32)header & 0xffff;
    if ((header >> 16 & 15) != XSHM_DRIVER_MESSAGE || *length < 2 || *length > xshm_driver_longest_message(channel) ||
        xshm_driver_frame_size(*length) > xshm_driver_left(channel, at)) {
        return -1;
    }
    return 1;
}

/* Copies a payload out. It may be torn: whether it is, shows when read_pos is moved. */
static __inline void xshm_driver_copy_out(
    const xshm_driver_t *channel, xshm_driver_u64 position, xshm_driver_u8 *to, xshm_driver_u32 length)
{
    volatile xshm_driver_u8 *from = xshm_driver_place(channel, channel->receiver.ring, position);
    xshm_driver_u32 at, each;
    for (at = 0; at + 8 <= length; at += 8) {
        xshm_driver_u64 word = xshm_driver_get(from + at);
        for (each = 0; each < 8; each++) to[at + each] = (xshm_driver_u8)(word >> 8 * each);
    }
    if (at < length) {
        xshm_driver_u64 word = xshm_driver_get(from + at);
        for (each = 0; at + each < length; each++) to[at + each] = (xshm_driver_u8)(word >> 8 * each);
    }
}

/* Takes the oldest message, or looks how long it is where `to` is NULL. `tries` times, unless it is evicted under our hands. */
static __inline int xshm_driver_try_take(
    xshm_driver_t *channel, xshm_driver_u8 *to, xshm_driver_u32 room, xshm_driver_u32 *length, unsigned tries)
{
    xshm_driver_u64 start = 0, sequence = 0, end, found;
    while (tries-- > 0) {
        int moved, what = xshm_driver_frame(channel, &start, length, &sequence);
        if (what != 1 || !to || *length > room) {
            /* An answer without a take must be true: what we saw may have been half overwritten. */
            moved = xshm_driver_follow(channel);
            if (moved > 0) continue;
            if (moved < 0 || what < 0) return xshm_driver_broken(channel);
            return what == 0 ? XSHM_DRIVER_EMPTY : XSHM_DRIVER_BUFFER_TOO_SMALL;
        }
        xshm_driver_copy_out(channel, start + 8, to, *length);
        end = start + xshm_driver_frame_size(*length);
        found = xshm_driver_swap64(channel->receiver.header + XSHM_DRIVER_AT_READ_POS, channel->receiver.read_pos, end);
        if (found == channel->receiver.read_pos) {
            channel->receiver.lost += (sequence - channel->receiver.sequence) & (XSHM_DRIVER_SEQUENCES - 1);
            channel->receiver.sequence = (sequence + 1) & (XSHM_DRIVER_SEQUENCES - 1);
            channel->receiver.read_pos = end;
            channel->receiver.moved = 0;
            channel->receiver.received++;
            return XSHM_DRIVER_OK;
        }
        if (xshm_driver_jump(channel, found) < 0) return xshm_driver_broken(channel);
    }
    return XSHM_DRIVER_BUSY;
}

static __inline int xshm_driver_take(xshm_driver_t *channel, xshm_driver_u8 *to, xshm_driver_u32 room, xshm_driver_u32 *length)
{
    xshm_driver_u32 before;
    unsigned round;
    int code = XSHM_DRIVER_BUSY, hurried = 0;
    if (channel->corrupted) return XSHM_DRIVER_CORRUPTED;
    for (round = 0; round < 64 && code == XSHM_DRIVER_BUSY; round++) {
        code = xshm_driver_try_take(channel, to, room, length, 8);
        if (code == XSHM_DRIVER_BUSY) {
            /* The sender's next eviction then takes half the queue, and gives us time. */
            hurried = 1;
            if (xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, XSHM_DRIVER_HURRY, 0, &before) != XSHM_DRIVER_OK) {
                return XSHM_DRIVER_CORRUPTED;
            }
        }
    }
    if (hurried && xshm_driver_awake(channel, XSHM_DRIVER_HURRY) != XSHM_DRIVER_OK) return XSHM_DRIVER_CORRUPTED;
    if (code == XSHM_DRIVER_OK &&
        xshm_driver_announce(channel, XSHM_DRIVER_SPACE, XSHM_DRIVER_ALWAYS_SPACE, XSHM_DRIVER_EVENT_S2C_SPACE) != XSHM_DRIVER_OK) {
        return XSHM_DRIVER_CORRUPTED;
    }
    return code;
}

/*
 * Takes a message. `*length` is its length.
 *
 * XSHM_DRIVER_OK; XSHM_DRIVER_EMPTY; XSHM_DRIVER_BUFFER_TOO_SMALL (`*length` is what is needed); XSHM_DRIVER_BUSY;
 * XSHM_DRIVER_OVER: the session has ended, and all that the server sent was received; XSHM_DRIVER_CORRUPTED.
 */
static __inline int xshm_driver_receive(xshm_driver_t *channel, void *buffer, xshm_driver_u32 size, xshm_driver_u32 *length)
{
    xshm_driver_u8 none, *to = buffer ? (xshm_driver_u8 *)buffer : &none;
    int code;
    if (!channel->connected) return XSHM_DRIVER_OVER;
    if (!buffer) size = 0;
    code = xshm_driver_take(channel, to, size, length);
    if (code != XSHM_DRIVER_EMPTY || xshm_driver_is_connected(channel)) return code;
    /* What was sent before the end was published before we saw the end. */
    code = xshm_driver_take(channel, to, size, length);
    return code == XSHM_DRIVER_EMPTY ? XSHM_DRIVER_OVER : code;
}

/*
 * Looks whether a message is there, and leaves it there: XSHM_DRIVER_OK, and its length; XSHM_DRIVER_EMPTY, XSHM_DRIVER_BUSY,
 * XSHM_DRIVER_OVER, XSHM_DRIVER_CORRUPTED.
 */
static __inline int xshm_driver_peek(xshm_driver_t *channel, xshm_driver_u32 *length)
{
    int code = xshm_driver_receive(channel, (void *)0, 0, length);
    return code == XSHM_DRIVER_BUFFER_TOO_SMALL ? XSHM_DRIVER_OK : code;
}

/*
 * Says that we sleep until a message comes. XSHM_DRIVER_OK: wait for event 0 (and whatever else you wait for), then call
 * xshm_driver_awake(channel, XSHM_DRIVER_DATA). XSHM_DRIVER_LOOK: don't wait, something is there; no call of xshm_driver_awake is
 * needed then. XSHM_DRIVER_OVER, XSHM_DRIVER_CORRUPTED.
 *
 * The server sets event 0 for a session's end too. It can't when its process is killed: a driver learns of that by its file object's
 * cleanup or close.
 */
static __inline int xshm_driver_sleep_for_data(xshm_driver_t *channel)
{
    xshm_driver_u32 length;
    int code = xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, XSHM_DRIVER_DATA, 0, &length);
    if (code != XSHM_DRIVER_OK) return code;
    xshm_driver_fence();
    code = xshm_driver_peek(channel, &length);
    if (code == XSHM_DRIVER_EMPTY) return XSHM_DRIVER_OK;
    if (xshm_driver_awake(channel, XSHM_DRIVER_DATA) != XSHM_DRIVER_OK) return XSHM_DRIVER_CORRUPTED;
    return code == XSHM_DRIVER_OK || code == XSHM_DRIVER_BUSY ? XSHM_DRIVER_LOOK : code;
}

/* ------------------------------------------------------------------------------------------------------- sending */

/* Bytes of pad before a frame, if it were sent now. */
static __inline xshm_driver_u64 xshm_driver_pad(const xshm_driver_t *channel, xshm_driver_u64 frame)
{
    xshm_driver_u64 left = xshm_driver_left(channel, channel->sender.write_pos);
    return frame > left ? left : 0;
}

/* Whether `total` bytes fit in with the oldest unread message at `read_pos`. One place for a header always stays free. */
static __inline int xshm_driver_fits(
    const xshm_driver_t *channel, xshm_driver_u64 total, xshm_driver_u64 read_pos, xshm_driver_u32 queued)
{
    xshm_driver_u32 limit = channel->message_limit;
    if (limit > channel->sender.ends_size) limit = channel->sender.ends_size;
    return total + XSHM_DRIVER_FRAME <= channel->capacity - (channel->sender.write_pos - read_pos) && queued < limit;
}

static __inline xshm_driver_u64 xshm_driver_end_of(const xshm_driver_t *channel, xshm_driver_u32 index)
{
    xshm_driver_u32 at = channel->sender.first + index;
    if (at >= channel->sender.ends_size) at -= channel->sender.ends_size;
    return channel->sender.ends[at];
}

static __inline void xshm_driver_drop(xshm_driver_t *channel, xshm_driver_u32 count)
{
    channel->sender.first += count;
    if (channel->sender.first >= channel->sender.ends_size) channel->sender.first -= channel->sender.ends_size;
    channel->sender.queued -= count;
}

/* Drops what the server has taken: its read_pos must be the end of one of our messages. */
static __inline int xshm_driver_advance(xshm_driver_t *channel, xshm_driver_u64 read_pos)
{
    while (channel->sender.queued > 0 && channel->sender.read_pos != read_pos) {
        channel->sender.read_pos = xshm_driver_end_of(channel, 0);
        xshm_driver_drop(channel, 1);
    }
    return channel->sender.read_pos == read_pos ? XSHM_DRIVER_OK : xshm_driver_broken(channel);
}

static __inline int xshm_driver_refresh(xshm_driver_t *channel)
{
    /* Acquires the taking, so that what is then overwritten has been copied out. */
    return xshm_driver_advance(channel, xshm_driver_load64(channel->sender.header + XSHM_DRIVER_AT_READ_POS));
}

/* Brings the ring's statistics up to date. Nothing depends on them. */
static __inline void xshm_driver_publish_counters(const xshm_driver_t *channel)
{
    xshm_driver_store64(channel->sender.header, channel->sender.write_pos);
    xshm_driver_store64(channel->sender.header + 16, channel->sender.sent);
    xshm_driver_store64(channel->sender.header + 24, channel->sender.evicted);
}

/* XSHM_DRIVER_OK: a message of `size` bytes has room. XSHM_DRIVER_FULL, XSHM_DRIVER_CORRUPTED. */
static __inline int xshm_driver_room(xshm_driver_t *channel, xshm_driver_u32 length)
{
    xshm_driver_u64 frame = xshm_driver_frame_size(length), total = xshm_driver_pad(channel, frame) + frame;
    if (!xshm_driver_fits(channel, total, channel->sender.read_pos, channel->sender.queued)) {
        int code = xshm_driver_refresh(channel);
        if (code != XSHM_DRIVER_OK) return code;
        xshm_driver_publish_counters(channel);
        if (!xshm_driver_fits(channel, total, channel->sender.read_pos, channel->sender.queued)) return XSHM_DRIVER_FULL;
    }
    return XSHM_DRIVER_OK;
}

/* Evicts the oldest messages until one of `size` bytes has room. */
static __inline int xshm_driver_make_room(xshm_driver_t *channel, xshm_driver_u32 length, xshm_driver_u32 *evicted)
{
    xshm_driver_u64 frame = xshm_driver_frame_size(length), total = xshm_driver_pad(channel, frame) + frame;
    xshm_driver_u32 bits;
    int code = xshm_driver_change(channel, XSHM_DRIVER_AT_SERVER_WAKE, 0, XSHM_DRIVER_HURRY, &bits);
    if (code != XSHM_DRIVER_OK) return code;
    /* Each pass ends in room, in an error, or with fewer messages in the list. */
    while (!xshm_driver_fits(channel, total, channel->sender.read_pos, channel->sender.queued)) {
        xshm_driver_u32 queued = channel->sender.queued, count = 0;
        xshm_driver_u32 at_least = (bits & XSHM_DRIVER_HURRY) != 0 ? queued / 2 : 0;
        xshm_driver_u64 target = channel->sender.read_pos, found;
        while (count < queued && (count < at_least || !xshm_driver_fits(channel, total, target, queued - count))) {
            target = xshm_driver_end_of(channel, count);
            count++;
        }
        if (count == 0) return xshm_driver_broken(channel);
        found = xshm_driver_swap64(channel->sender.header + XSHM_DRIVER_AT_READ_POS, channel->sender.read_pos, target);
        if (found == channel->sender.read_pos) {
            xshm_driver_drop(channel, count);
            channel->sender.read_pos = target;
            channel->sender.evicted += count;
            *evicted += count;
        } else if ((code = xshm_driver_advance(channel, found)) != XSHM_DRIVER_OK) {
            return code;
        }
    }
    /* Before the first byte of what was evicted is overwritten. Its partner is the receiver's load of read_pos when it finds something
       odd, or its failing swap. */
    xshm_driver_fence();
    xshm_driver_publish_counters(channel);
    return XSHM_DRIVER_OK;
}

/* Writes a payload, the last word padded with zeros. */
static __inline void xshm_driver_copy_in(
    const xshm_driver_t *channel, xshm_driver_u64 position, const xshm_driver_u8 *from, xshm_driver_u32 length)
{
    volatile xshm_driver_u8 *to = xshm_driver_place(channel, channel->sender.ring, position);
    xshm_driver_u32 at, each;
    for (at = 0; at + 8 <= length; at += 8) {
        xshm_driver_u64 word = 0;
        for (each = 0; each < 8; each++) word |= (xshm_driver_u64)from[at + each] << 8 * each;
        xshm_driver_put(to + at, word);
    }
    if (at < length) {
        xshm_driver_u64 word = 0;
        for (each = 0; at + each < length; each++) word |= (xshm_driver_u64)from[at + each] << 8 * each;
        xshm_driver_put(to + at, word);
    }
}

/* Sends a message that has room. */
static __inline int xshm_driver_push(xshm_driver_t *channel, const xshm_driver_u8 *data, xshm_driver_u32 length)
{
    xshm_driver_u64 frame = xshm_driver_frame_size(length), pad = xshm_driver_pad(channel, frame);
    xshm_driver_u64 start = channel->sender.write_pos + pad, end = start + frame, sequence = channel->sender.sequence << 20;
    xshm_driver_u64 header = length | (xshm_driver_u64)XSHM_DRIVER_MESSAGE << 16 | sequence;
    xshm_driver_u32 last = channel->sender.first + channel->sender.queued;
    /* There the server will look for the next message. */
    xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, end), 0);
    xshm_driver_copy_in(channel, start + 8, data, length);
    xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, start), header);
    if (pad > 0) {
        header = (xshm_driver_u64)XSHM_DRIVER_PAD << 16 | sequence;
        xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, channel->sender.write_pos), header);
    }
    /* Before the look at the wake word: a server that sleeps must see the message, or we must see that it sleeps. */
    xshm_driver_fence();
    if (last >= channel->sender.ends_size) last -= channel->sender.ends_size;
    channel->sender.ends[last] = end;
    channel->sender.queued++;
    channel->sender.write_pos = end;
    channel->sender.sequence = (channel->sender.sequence + 1) & (XSHM_DRIVER_SEQUENCES - 1);
    channel->sender.sent++;
    return xshm_driver_announce(channel, XSHM_DRIVER_DATA, XSHM_DRIVER_ALWAYS_DATA, XSHM_DRIVER_EVENT_C2S_DATA);
}

static __inline int xshm_driver_may_send(const xshm_driver_t *channel, xshm_driver_u32 length)
{
    if (channel->connected && channel->corrupted) return XSHM_DRIVER_CORRUPTED;
    if (!xshm_driver_is_connected(channel)) return XSHM_DRIVER_OVER;
    return length < 2 || length > xshm_driver_longest_message(channel) ? XSHM_DRIVER_BAD_SIZE : XSHM_DRIVER_OK;
}

/*
 * Sends a message if there is room. XSHM_DRIVER_OK; XSHM_DRIVER_FULL; XSHM_DRIVER_BAD_SIZE; XSHM_DRIVER_OVER;
 * XSHM_DRIVER_CORRUPTED.
 */
static __inline int xshm_driver_try_send(xshm_driver_t *channel, const void *data, xshm_driver_u32 length)
{
    int code = xshm_driver_may_send(channel, length);
    if (code == XSHM_DRIVER_OK) code = xshm_driver_room(channel, length);
    return code == XSHM_DRIVER_OK ? xshm_driver_push(channel, (const xshm_driver_u8 *)data, length) : code;
}

/*
 * Sends a message, and evicts the oldest unread ones where there is no room: `*evicted` says how many. On a channel whose server
 * rejects when full it is xshm_driver_try_send.
 */
static __inline int xshm_driver_send(
    xshm_driver_t *channel, const void *data, xshm_driver_u32 length, xshm_driver_u32 *evicted)
{
    int code = xshm_driver_try_send(channel, data, length);
    *evicted = 0;
    if (code != XSHM_DRIVER_FULL || (channel->flags & XSHM_DRIVER_FLAG_REJECT) != 0) return code;
    code = xshm_driver_make_room(channel, length, evicted);
    return code == XSHM_DRIVER_OK ? xshm_driver_push(channel, (const xshm_driver_u8 *)data, length) : code;
}

/*
 * Says that we sleep until there is room for a message of `size` bytes. XSHM_DRIVER_OK: wait for event 3, then call
 * xshm_driver_awake(channel, XSHM_DRIVER_SPACE). XSHM_DRIVER_LOOK: don't wait, there is room. Else as xshm_driver_try_send.
 */
static __inline int xshm_driver_sleep_for_space(xshm_driver_t *channel, xshm_driver_u32 length)
{
    xshm_driver_u32 before;
    int code = xshm_driver_may_send(channel, length);
    if (code == XSHM_DRIVER_OK) code = xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, XSHM_DRIVER_SPACE, 0, &before);
    if (code != XSHM_DRIVER_OK) return code;
    xshm_driver_fence();
    code = xshm_driver_room(channel, length);
    if (code == XSHM_DRIVER_FULL && xshm_driver_is_connected(channel)) return XSHM_DRIVER_OK;
    if (xshm_driver_awake(channel, XSHM_DRIVER_SPACE) != XSHM_DRIVER_OK) return XSHM_DRIVER_CORRUPTED;
    if (code == XSHM_DRIVER_FULL) return XSHM_DRIVER_OVER;
    return code == XSHM_DRIVER_OK ? XSHM_DRIVER_LOOK : code;
}

#ifdef __cplusplus
}
#endif

#endif
