/**
 * \page driver_rules Rules of xshm_driver.h
 *
 * The client's side of a channel for kernel drivers, in one header. It is C99, needs no C runtime, and allocates no memory.
 *
 * It is a second implementation of docs/protocol.md, and needs nothing else of xshm. It works on a section that the caller
 * has mapped. It never calls the kernel: where an event is to be set, it calls a function that the caller supplied. It also
 * works in user mode.
 *
 *     xshm_driver_t channel;
 *     xshm_driver_u64 ends[250];               in memory that outlives the channel, not in the section
 *     xshm_driver_open(&channel, base, size, ends, 250, set_event, context);
 *     xshm_driver_request(&channel, pid);      then wait for the acknowledgement (event 5), or poll:
 *     xshm_driver_answer(&channel);            until it is no longer XSHM_DRIVER_WAITING
 *     for (;;) {
 *         while (xshm_driver_receive(&channel, buffer, sizeof buffer, &length) == XSHM_DRIVER_OK) ...
 *         if (xshm_driver_sleep_for_data(&channel) == XSHM_DRIVER_OK) wait for event 0;
 *         xshm_driver_awake(&channel, XSHM_DRIVER_DATA);
 *     }
 *     xshm_driver_leave(&channel);
 *
 * Trust. The section may be hostile. The header reads each value in it once, checks it, and uses only the copy. It masks
 * positions, and bounds lengths and loops. A hostile peer can at most send nonsense within the size limits, and end the
 * session.
 *
 * Threads. One thread may send while another thread receives:
 * - the sending thread: send, try_send, sleep_for_space, awake with XSHM_DRIVER_SPACE
 * - the receiving thread: receive, peek, sleep_for_data, awake with XSHM_DRIVER_DATA
 * - both: is_connected, longest_message
 *
 * sleep_for_space changes the sender's positions like a send, and sleep_for_data those of the receiver like a receive. All
 * other functions (open, request, answer, always, leave) must not run at the same time as any other call.
 *
 * IRQL. No function here waits or takes a lock. The functions touch the section, the channel, `ends` and the caller's
 * buffers. If all of these are non-paged (for instance a section whose pages are locked by an MDL), the functions may be
 * called at IRQL <= DISPATCH_LEVEL. A view from ZwMapViewOfSection is pageable, and belongs to one process: the functions
 * may then be called at IRQL <= APC_LEVEL, in that process. The caller's function that sets events runs at the caller's
 * IRQL; KeSetEvent with Wait FALSE may be called up to DISPATCH_LEVEL.
 *
 * A receive copies at most xshm_driver_longest_message() bytes: 65,535, unless the server sets another length. It tries at
 * most 512 times if the sender evicts the message meanwhile, and with messages of more than 65,535 bytes as long as it has
 * discarded less than 32 MiB of copies, or less than four of the longest messages.
 * xshm_driver_open costs a few reads.
 *
 * Processors: x86, x64 and arm64; also ARM64EC, which only programs use. Compilers: GCC, Clang, MSVC.
 */
#ifndef XSHM_DRIVER_H
#define XSHM_DRIVER_H

/* The header is C, and C++ programs include it with warnings that only C++ can heed. The fences are meant to be full ones. */
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunknown-warning-option"
#pragma clang diagnostic ignored "-Wold-style-cast"
#pragma clang diagnostic ignored "-Wzero-as-null-pointer-constant"
#pragma clang diagnostic ignored "-Watomic-implicit-seq-cst"
#elif defined(__GNUC__) && defined(__cplusplus)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#pragma GCC diagnostic ignored "-Wzero-as-null-pointer-constant"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** 8 bits. \ingroup driver */
typedef unsigned char xshm_driver_u8;
/** 32 bits. \ingroup driver */
typedef unsigned int xshm_driver_u32;
/** 64 bits. \ingroup driver */
typedef unsigned long long xshm_driver_u64;
/** A number of bytes in memory, or an address. \ingroup driver */
#if defined(_WIN64)
typedef unsigned long long xshm_driver_size;
#else
typedef unsigned long xshm_driver_size;
#endif

/**
 * The result of a call.
 *
 * \ingroup driver
 */
enum {
    /** The call succeeded. */
    XSHM_DRIVER_OK = 0,
    /** There is no message. */
    XSHM_DRIVER_EMPTY,
    /** There is no room, and the call evicted nothing. */
    XSHM_DRIVER_FULL,
    /** The sender evicts faster than messages can be taken. Try again. */
    XSHM_DRIVER_BUSY,
    /** The message is longer than the buffer; it stays in the queue, and its length was stored. */
    XSHM_DRIVER_BUFFER_TOO_SMALL,
    /** A message has 2 to xshm_driver_longest_message() bytes, or 0 to that number if XSHM_DRIVER_FLAG_LENGTHS is set. */
    XSHM_DRIVER_BAD_SIZE,
    /** The server has not answered the connection request yet. */
    XSHM_DRIVER_WAITING,
    /** Another client has the channel, or requests it. */
    XSHM_DRIVER_TAKEN,
    /** The server did not accept this connection request. */
    XSHM_DRIVER_REFUSED,
    /** There is no session: none began yet, or the server ended it, or the server left. All that the server sent was
       received. */
    XSHM_DRIVER_OVER,
    /** The peer wrote a value that the protocol does not allow. The session is over: leave. */
    XSHM_DRIVER_CORRUPTED,
    /** The section is not a channel of this protocol version; `reason` says why. */
    XSHM_DRIVER_INCOMPATIBLE,
    /** An argument is invalid; `reason` says which. */
    XSHM_DRIVER_INVALID,
    /** There is no need to sleep: receive or send now. */
    XSHM_DRIVER_LOOK
};

/**
 * A channel's events, by their numbers.
 *
 * \ingroup driver
 */
enum {
    XSHM_DRIVER_EVENT_S2C_DATA = 0,   /**< the server sent, and the client slept: wait for it */
    XSHM_DRIVER_EVENT_C2S_DATA = 1,   /**< the client sent, and the server slept: set by `signal` */
    XSHM_DRIVER_EVENT_S2C_SPACE = 2,  /**< the client took a message, and the server slept: set by `signal` */
    XSHM_DRIVER_EVENT_C2S_SPACE = 3,  /**< the server took a message, and the client slept: wait for it */
    XSHM_DRIVER_EVENT_REQUEST = 4,    /**< the client requests a connection: set by `signal` */
    XSHM_DRIVER_EVENT_ACKNOWLEDGE = 5,/**< the server answered: wait for it */
    XSHM_DRIVER_EVENT_DISCONNECT = 6  /**< the client left (set by `signal`), or the server left; waiting for it is optional */
};

/**
 * Bits of a wake word: arguments of xshm_driver_awake and xshm_driver_always.
 *
 * \ingroup driver
 */
enum {
    /** This side sleeps until a message comes. */
    XSHM_DRIVER_DATA = 1,
    /** This side sleeps until there is room. */
    XSHM_DRIVER_SPACE = 2,
    /** The sender evicts faster than the receiver can take messages: the next eviction takes half the queue. */
    XSHM_DRIVER_PRESSURE = 4,
    /** The peer sets an event for each message. */
    XSHM_DRIVER_ALWAYS_DATA = 8,
    /** The peer sets an event for each message that it takes. */
    XSHM_DRIVER_ALWAYS_SPACE = 16,
    /** The owner promises not to sleep until a message comes. */
    XSHM_DRIVER_AWAKE_DATA = 32,
    /** The owner promises not to sleep until there is room. */
    XSHM_DRIVER_AWAKE_SPACE = 64
};

/** The earlier name of xshm_driver_request. \ingroup driver */
#define xshm_driver_hello xshm_driver_request
/** The earlier name of XSHM_DRIVER_PRESSURE. \ingroup driver */
#define XSHM_DRIVER_HURRY XSHM_DRIVER_PRESSURE

/**
 * The caller's function that sets events. Called by request, try_send, send, receive and leave, on their thread.
 *
 * \ingroup driver
 * \param context The `context` of xshm_driver_open.
 * \param event The number of the event: one of XSHM_DRIVER_EVENT_...
 */
typedef void xshm_driver_signal_t(void *context, unsigned event);

/**
 * One channel. The caller may read its fields; only this header writes them.
 *
 * \ingroup driver
 */
typedef struct xshm_driver {
    /** The reason for XSHM_DRIVER_INCOMPATIBLE and _INVALID. */
    const char *reason;
    /** Bytes in each ring. This field and the next six are fixed, and read once. */
    xshm_driver_u32 capacity;
    /** The largest number of messages that each direction queues. */
    xshm_driver_u32 message_limit;
    /** The shortest message in bytes: 2, or 0 if XSHM_DRIVER_FLAG_LENGTHS is set. */
    xshm_driver_u32 shortest;
    /** The longest message in bytes. */
    xshm_driver_u32 longest;
    /** XSHM_DRIVER_FLAG_EVENTS, XSHM_DRIVER_FLAG_REJECT, XSHM_DRIVER_FLAG_LENGTHS, several of them, or 0. */
    xshm_driver_u32 flags;
    /** The server's process id, as the server states it. */
    xshm_driver_u32 server_pid;
    /** A random number that identifies the channel. */
    xshm_driver_u64 instance;
    /** The number of the session, if there is one. */
    xshm_driver_u32 generation;
    /** Whether a session has begun, and this side has not left it. */
    int connected;
    /** Whether the peer broke the rules. Either thread may detect this. */
    volatile int corrupted;
    /** The client word as this side wrote it. 0: none. */
    xshm_driver_u64 word;

    /** The address of the section. */
    volatile xshm_driver_u8 *base;
    /** The caller's function that sets events. */
    xshm_driver_signal_t *signal;
    /** The argument for `signal`. */
    void *context;

    /** What the sending thread uses. */
    struct {
        /** The header of the ring. */
        volatile xshm_driver_u8 *header;
        /** The bytes of the ring. */
        volatile xshm_driver_u8 *ring;
        /** The position for the next message. */
        xshm_driver_u64 write_pos;
        /** The position of the oldest message that the server has not taken, when last read. */
        xshm_driver_u64 read_pos;
        /** The ends of the queued messages. */
        xshm_driver_u64 *ends;
        /** The number of elements of `ends`. */
        xshm_driver_u32 ends_size;
        /** The index in `ends` of the oldest queued message. */
        xshm_driver_u32 first;
        /** The number of queued messages. */
        xshm_driver_u32 queued;
        /** The number of the next message. */
        xshm_driver_u64 sequence;
        /** Messages sent. */
        xshm_driver_u64 sent;
        /** Of these, messages that were evicted. */
        xshm_driver_u64 evicted;
    } sender;

    /** What the receiving thread uses. */
    struct {
        /** The header of the ring. */
        volatile xshm_driver_u8 *header;
        /** The bytes of the ring. */
        volatile xshm_driver_u8 *ring;
        /** The position of the next message. */
        xshm_driver_u64 read_pos;
        /** The number of the next message. */
        xshm_driver_u64 sequence;
        /** Whether the server has moved `read_pos` since the last message. */
        int moved;
        /** Messages received. */
        xshm_driver_u64 received;
        /** Messages that the server evicted before this side took them. */
        xshm_driver_u64 lost;
    } receiver;
} xshm_driver_t;

/** \cond */
/* ------------------------------------------------------------------------------------------------------ atomics */

/*
 * xshm_driver_load32/64      acquire
 * xshm_driver_load64_sc      sequentially consistent
 * xshm_driver_store64        release
 * xshm_driver_swap64         compare-exchange of the exact value, sequentially consistent; returns the value found
 * xshm_driver_fence          sequentially consistent
 * xshm_driver_get, _put      relaxed words of a payload, which may be torn
 *
 * On 32-bit x86 a plain access has 32 bits, so 64-bit words are loaded and stored by compare-exchange. Payload words may be
 * accessed in halves.
 */
#if defined(_MSC_VER) && !defined(__clang__)

#include <intrin.h>

/* ARM64EC comes first: the compiler then also defines _M_X64, but the processor orders memory as arm64 does. 0xB is the inner
   shareable domain. */
#if defined(_M_ARM64EC) || defined(_M_ARM64)
#define XSHM_DRIVER_ARM64 1
#define XSHM_DRIVER_BARRIER() __dmb(0xB)
#elif defined(_M_X64) || defined(_M_IX86)
#define XSHM_DRIVER_BARRIER() _ReadWriteBarrier()
#else
#error "xshm_driver.h: x86, x64 and arm64 only"
#endif

static __inline xshm_driver_u64 xshm_driver_swap64(volatile void *at, xshm_driver_u64 from, xshm_driver_u64 to)
{
    return (xshm_driver_u64)_InterlockedCompareExchange64((volatile __int64 *)at, (__int64)to, (__int64)from);
}

static __inline void xshm_driver_fence(void)
{
#if defined(XSHM_DRIVER_ARM64)
    XSHM_DRIVER_BARRIER();
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

/* In this header, a fence or a compare-exchange precedes each sequentially consistent load. */
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

/** \endcond */

/** A bit of xshm_driver_t.flags: the channel has events. \ingroup driver */
#define XSHM_DRIVER_FLAG_EVENTS 1u
/** A bit of xshm_driver_t.flags: the server rejects messages when the queue is full, and evicts none. \ingroup driver */
#define XSHM_DRIVER_FLAG_REJECT 2u
/** A bit of xshm_driver_t.flags: the server has set the length of the longest message, and a message may have any length up to
 * it. \ingroup driver */
#define XSHM_DRIVER_FLAG_LENGTHS 8u

/** \cond */

/* Offsets in the control block, and in a ring's header. */
#define XSHM_DRIVER_AT_GENERATION 8
#define XSHM_DRIVER_AT_SERVER_STATE 12
#define XSHM_DRIVER_AT_CLIENT_STATE 16
#define XSHM_DRIVER_AT_SERVER_WAKE 24
#define XSHM_DRIVER_AT_CLIENT_WAKE 32
#define XSHM_DRIVER_AT_READ_POS 8

/* States of the client word. */
#define XSHM_DRIVER_IDLE 0u
#define XSHM_DRIVER_REQUESTED 1u
#define XSHM_DRIVER_READY 2u
#define XSHM_DRIVER_LEFT 3u
#define XSHM_DRIVER_ENDED 4u
#define XSHM_DRIVER_WAS_REFUSED 5u

#define XSHM_DRIVER_FRAME 64u
#define XSHM_DRIVER_SEQUENCES ((xshm_driver_u64)1 << 44)
#define XSHM_DRIVER_MESSAGE 1u
#define XSHM_DRIVER_PAD 2u
#define XSHM_DRIVER_LONG 3u
/* A longer message has a long frame, whose payload starts at the second line. */
#define XSHM_DRIVER_LONGEST_ORDINARY 65535u
#define XSHM_DRIVER_AT_LONGEST 56
#define XSHM_DRIVER_DISCARDED ((xshm_driver_u64)32 << 20)

/** \endcond */

/**
 * Returns the length of the longest message of this channel.
 *
 * \ingroup driver
 * \param channel The channel.
 * \return The length in bytes.
 * \par Threads
 * Any thread.
 */
static __inline xshm_driver_u32 xshm_driver_longest_message(const xshm_driver_t *channel)
{
    return channel->longest;
}

/** \cond */
/* The bytes before a payload. */
static __inline xshm_driver_u64 xshm_driver_before_payload(xshm_driver_u32 length)
{
    return length > XSHM_DRIVER_LONGEST_ORDINARY ? XSHM_DRIVER_FRAME : 8;
}

static __inline xshm_driver_u64 xshm_driver_frame_size(xshm_driver_u32 length)
{
    xshm_driver_u64 size = xshm_driver_before_payload(length) + length;
    return (size + XSHM_DRIVER_FRAME - 1) & ~(xshm_driver_u64)(XSHM_DRIVER_FRAME - 1);
}

/* Whether a message may have this length. */
static __inline int xshm_driver_may_have(const xshm_driver_t *channel, xshm_driver_u64 length)
{
    return length >= channel->shortest && length <= channel->longest;
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

/* The address of a position in a ring. Every position gives an address inside the ring. */
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

/** \endcond */

/**
 * Checks a mapped section, and prepares the channel. Writes nothing to the section.
 *
 * \ingroup driver
 * \param[out] channel The channel.
 * \param base The address of the section, a multiple of 8.
 * \param size The size of the mapping in bytes.
 * \param ends Memory for `ends_size` numbers, which outlives the channel and is not in the section.
 * \param ends_size The largest number of messages that the client queues, at least 1. The client also queues at most as many
 *   as the channel allows: 250 unless the server chose otherwise.
 * \param signal Sets the events of the channel. May be NULL on a channel without events.
 * \param context The argument for `signal`.
 * \retval XSHM_DRIVER_OK The channel is ready for xshm_driver_request.
 * \retval XSHM_DRIVER_INCOMPATIBLE The section is not a channel of this protocol version; `reason` says why.
 * \retval XSHM_DRIVER_INVALID An argument is invalid; `reason` says which.
 * \par Threads
 * One thread, while no other call runs on the channel.
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
    if ((channel->flags & ~(XSHM_DRIVER_FLAG_EVENTS | XSHM_DRIVER_FLAG_REJECT | XSHM_DRIVER_FLAG_LENGTHS)) != 0) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the flags are not those of a channel for one client");
    }
    if ((channel->flags & XSHM_DRIVER_FLAG_EVENTS) != 0 && !signal) {
        return xshm_driver_fail(channel, XSHM_DRIVER_INVALID, "the channel has events: pass a signal function that sets them");
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
    channel->shortest = 2;
    channel->longest = channel->capacity / 2 - 8;
    if (channel->longest > XSHM_DRIVER_LONGEST_ORDINARY) channel->longest = XSHM_DRIVER_LONGEST_ORDINARY;
    if ((channel->flags & XSHM_DRIVER_FLAG_LENGTHS) != 0) {
        /* In the header of the first ring. A message fits into half the ring. */
        xshm_driver_u64 longest = xshm_driver_get(at + 64 + XSHM_DRIVER_AT_LONGEST);
        if (longest < 2 || longest > channel->capacity / 2 || xshm_driver_frame_size((xshm_driver_u32)longest) > channel->capacity / 2) {
            return xshm_driver_fail(channel, XSHM_DRIVER_INCOMPATIBLE, "the length of the longest message can't be");
        }
        channel->shortest = 0;
        channel->longest = (xshm_driver_u32)longest;
    }
    channel->server_pid = xshm_driver_load32(at + 52);
    channel->instance = xshm_driver_get(at + 56);
    channel->receiver.header = at + 64;
    channel->receiver.ring = at + 128;
    channel->sender.header = at + 128 + channel->capacity;
    channel->sender.ring = at + 192 + channel->capacity;
    return XSHM_DRIVER_OK;
}

/** \cond */
static __inline void xshm_driver_set(const xshm_driver_t *channel, unsigned event)
{
    if ((channel->flags & XSHM_DRIVER_FLAG_EVENTS) != 0) channel->signal(channel->context, event);
}

/* --------------------------------------------------------------------------------------------------- wake words */

/* Sets and clears bits of a wake word of this generation. Stores the previous bits in `before`. */
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
    /* A peer that follows the rules does not change the word so often. */
    return xshm_driver_broken(channel);
}

/* Sets an event if the server sleeps and waits for it, or if the server wants it set every time. */
static __inline int xshm_driver_announce(xshm_driver_t *channel, xshm_driver_u32 bit, xshm_driver_u32 always, unsigned event)
{
    /* Pairs with the server's fence between setting its bit and its last look. */
    xshm_driver_u32 bits = (xshm_driver_u32)xshm_driver_load64_sc(channel->base + XSHM_DRIVER_AT_SERVER_WAKE);
    int code;
    if ((bits & (bit | always)) == 0) return XSHM_DRIVER_OK;
    code = xshm_driver_change(channel, XSHM_DRIVER_AT_SERVER_WAKE, 0, bit, &bits);
    if (code == XSHM_DRIVER_OK && (bits & (bit | always)) != 0) xshm_driver_set(channel, event);
    return code;
}

/* The same after a store. A server that promises not to sleep spares this side the fence. This load must follow the store at
   once, for the reason under "Promises" in docs/protocol.md. */
static __inline int xshm_driver_announce_store(
    xshm_driver_t *channel, xshm_driver_u32 bit, xshm_driver_u32 promise, xshm_driver_u32 always, unsigned event)
{
    xshm_driver_u32 bits = (xshm_driver_u32)xshm_driver_load64(channel->base + XSHM_DRIVER_AT_SERVER_WAKE);
    if ((bits & (bit | promise | always)) == promise) return XSHM_DRIVER_OK;
    /* Either the server sees the store, or this side sees that it sleeps. */
    xshm_driver_fence();
    return xshm_driver_announce(channel, bit, always, event);
}

/** \endcond */

/**
 * Makes the server set the client's events always, in this session. It is for waits without xshm_driver_sleep_for_data. Look
 * for messages once after this call.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param bits XSHM_DRIVER_ALWAYS_DATA: for each message. XSHM_DRIVER_ALWAYS_SPACE: for each message taken. Or both.
 * \retval XSHM_DRIVER_OK The server sets the events from now on.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * One thread, while no other call runs on the channel.
 */
static __inline int xshm_driver_always(xshm_driver_t *channel, xshm_driver_u32 bits)
{
    int code = xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, bits, 0, &bits);
    xshm_driver_fence();
    return code;
}

/**
 * Ends a sleep. Call it after each sleep, however the sleep ended.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param bits XSHM_DRIVER_DATA, XSHM_DRIVER_SPACE, or both.
 * \retval XSHM_DRIVER_OK The sleep is over.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The receiving thread with XSHM_DRIVER_DATA, and the sending thread with XSHM_DRIVER_SPACE.
 */
static __inline int xshm_driver_awake(xshm_driver_t *channel, xshm_driver_u32 bits)
{
    return xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, 0, bits, &bits);
}

/** \cond */
/* --------------------------------------------------------------------------------------------------- the session */

/** \endcond */

/**
 * Returns whether the session lives. Costs two reads of a cache line that rarely changes.
 *
 * \ingroup driver
 * \param channel The channel.
 * \return Not 0: the session lives. 0: it is over, or none has begun.
 * \par Threads
 * The sending thread and the receiving thread.
 */
static __inline int xshm_driver_is_connected(const xshm_driver_t *channel)
{
    return channel->connected && !channel->corrupted &&
           xshm_driver_load64(channel->base + XSHM_DRIVER_AT_CLIENT_STATE) == channel->word &&
           xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) == 1;
}

/** \cond */
/* Changes the client word, if it is exactly `from`, to the same attempt in the state `to`. */
static __inline int xshm_driver_move(xshm_driver_t *channel, xshm_driver_u64 from, xshm_driver_u32 to)
{
    return xshm_driver_swap64(channel->base + XSHM_DRIVER_AT_CLIENT_STATE, from, xshm_driver_with_state(from, to)) == from;
}

/** \endcond */

/**
 * Requests a connection, and sets the request event.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param pid A process id, as the server sees it: when that process ends, the session ends. It is usually the id of the
 *   process that supplied the section.
 * \retval XSHM_DRIVER_OK The request is made: wait for the acknowledgement and call xshm_driver_answer.
 * \retval XSHM_DRIVER_TAKEN Another client has the channel, or requests it. Try again later.
 * \retval XSHM_DRIVER_OVER The server has left.
 * \par Threads
 * One thread, while no other call runs on the channel.
 */
static __inline int xshm_driver_request(xshm_driver_t *channel, xshm_driver_u32 pid)
{
    volatile xshm_driver_u8 *at = channel->base + XSHM_DRIVER_AT_CLIENT_STATE;
    xshm_driver_u64 word = xshm_driver_load64(at), request;
    xshm_driver_u32 state = (xshm_driver_u32)word & 15;
    channel->connected = 0;
    channel->corrupted = 0;
    if (xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) != 1) return XSHM_DRIVER_OVER;
    if (state == XSHM_DRIVER_IDLE || state == XSHM_DRIVER_LEFT || state == XSHM_DRIVER_WAS_REFUSED) {
        request = XSHM_DRIVER_REQUESTED | ((((word >> 4) + 1) & 0x0fffffff) << 4) | (xshm_driver_u64)pid << 32;
        if (xshm_driver_swap64(at, word, request) == word) {
            channel->word = request;
            xshm_driver_set(channel, XSHM_DRIVER_EVENT_REQUEST);
            return XSHM_DRIVER_OK;
        }
    }
    /* Another client has or requests the channel. Still signal the server, which may have to clear the word: that client may
       have died before it could signal its request, or the word may be garbage. */
    xshm_driver_set(channel, XSHM_DRIVER_EVENT_REQUEST);
    return XSHM_DRIVER_TAKEN;
}

/** \cond */
/* Begins a session with both rings empty. */
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

/** \endcond */

/**
 * Looks for the answer to the connection request.
 *
 * \ingroup driver
 * \param channel The channel.
 * \retval XSHM_DRIVER_OK The session has begun.
 * \retval XSHM_DRIVER_WAITING There is no answer yet.
 * \retval XSHM_DRIVER_REFUSED The server refused the request.
 * \retval XSHM_DRIVER_OVER The server has left, and the request is withdrawn. Or nothing was requested.
 * \par Threads
 * One thread, while no other call runs on the channel.
 */
static __inline int xshm_driver_answer(xshm_driver_t *channel)
{
    volatile xshm_driver_u8 *at = channel->base + XSHM_DRIVER_AT_CLIENT_STATE;
    xshm_driver_u64 request = channel->word, ready = xshm_driver_with_state(request, XSHM_DRIVER_READY), word;
    if (channel->connected || ((xshm_driver_u32)request & 15) != XSHM_DRIVER_REQUESTED) return XSHM_DRIVER_OVER;
    if (xshm_driver_load32(channel->base + XSHM_DRIVER_AT_SERVER_STATE) != 1 &&
        xshm_driver_move(channel, request, XSHM_DRIVER_IDLE)) {
        channel->word = 0;
        return XSHM_DRIVER_OVER;
    }
    word = xshm_driver_load64(at);
    if (word == request) return XSHM_DRIVER_WAITING;
    if (word == ready || word == xshm_driver_with_state(request, XSHM_DRIVER_ENDED)) {
        /* The server wrote the generation before the word became ready. */
        xshm_driver_begin(channel, ready, xshm_driver_load32(channel->base + XSHM_DRIVER_AT_GENERATION));
        return XSHM_DRIVER_OK;
    }
    channel->word = 0;
    return XSHM_DRIVER_REFUSED;
}

/**
 * Leaves the session, or withdraws a connection request. This is the last access to the section: the caller may then unmap
 * it.
 *
 * \ingroup driver
 * \param channel The channel.
 * \par Threads
 * One thread, while no other call runs on the channel.
 */
static __inline void xshm_driver_leave(xshm_driver_t *channel)
{
    xshm_driver_u64 word = channel->word, ready = xshm_driver_with_state(word, XSHM_DRIVER_READY);
    int left = 0;
    if (((xshm_driver_u32)word & 15) == XSHM_DRIVER_REQUESTED && xshm_driver_move(channel, word, XSHM_DRIVER_IDLE)) {
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

/** \cond */
/* ----------------------------------------------------------------------------------------------------- receiving */

/* Follows read_pos. 1: the sender had moved it. 0: the sender had not. -1: the sender moved it to where no frame can start.
   */
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
    /* Acquires what the sender wrote before it moved read_pos. */
    return xshm_driver_jump(channel, xshm_driver_load64(channel->receiver.header + XSHM_DRIVER_AT_READ_POS));
}

/* Reads the frame at the receiver's position. 1: a message, whose position, length and sequence are stored. 0: nothing. -1:
   not a valid frame. */
static __inline int xshm_driver_frame(
    const xshm_driver_t *channel, xshm_driver_u64 *start, xshm_driver_u32 *length, xshm_driver_u64 *sequence)
{
    xshm_driver_u64 at = channel->receiver.read_pos, header, gap, found;
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
    found = header & 0xffff;
    if ((header >> 16 & 15) == XSHM_DRIVER_LONG) {
        found = xshm_driver_load64(xshm_driver_place(channel, channel->receiver.ring, at + 8));
        if (found <= XSHM_DRIVER_LONGEST_ORDINARY) return -1;
    } else if ((header >> 16 & 15) != XSHM_DRIVER_MESSAGE) {
        return -1;
    }
    if (!xshm_driver_may_have(channel, found)) return -1;
    *length = (xshm_driver_u32)found;
    if (xshm_driver_frame_size(*length) > xshm_driver_left(channel, at)) return -1;
    *start = at;
    return 1;
}

/* Copies a payload out. The copy may be torn; the compare-exchange of read_pos shows whether it is. */
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

/* Moves read_pos, unless the sender has moved it. Returns the value found. Where a full ring rejects, the sender never moves it. */
static __inline xshm_driver_u64 xshm_driver_move_read_pos(xshm_driver_t *channel, xshm_driver_u64 end)
{
    volatile xshm_driver_u8 *at = channel->receiver.header + XSHM_DRIVER_AT_READ_POS;
    xshm_driver_u64 found;
    if ((channel->flags & XSHM_DRIVER_FLAG_REJECT) == 0) return xshm_driver_swap64(at, channel->receiver.read_pos, end);
    found = xshm_driver_load64(at);
    if (found == channel->receiver.read_pos) xshm_driver_store64(at, end);
    return found;
}

/* Takes the oldest message, or only finds its length if `to` is NULL. Tries at most `tries` times while the sender evicts
   messages. */
static __inline int xshm_driver_try_take(
    xshm_driver_t *channel, xshm_driver_u8 *to, xshm_driver_u32 room, xshm_driver_u32 *length, unsigned tries)
{
    xshm_driver_u64 start = 0, sequence = 0, end, found;
    while (tries-- > 0) {
        int moved, what = xshm_driver_frame(channel, &start, length, &sequence);
        if (what != 1 || !to || *length > room) {
            /* A result that takes no message must be checked: the frame may have been partly overwritten. */
            moved = xshm_driver_follow(channel);
            if (moved > 0) continue;
            if (moved < 0 || what < 0) return xshm_driver_broken(channel);
            return what == 0 ? XSHM_DRIVER_EMPTY : XSHM_DRIVER_BUFFER_TOO_SMALL;
        }
        xshm_driver_copy_out(channel, start + xshm_driver_before_payload(*length), to, *length);
        end = start + xshm_driver_frame_size(*length);
        found = xshm_driver_move_read_pos(channel, end);
        if (found == channel->receiver.read_pos) {
            channel->receiver.lost += (sequence - channel->receiver.sequence) & (XSHM_DRIVER_SEQUENCES - 1);
            channel->receiver.sequence = (sequence + 1) & (XSHM_DRIVER_SEQUENCES - 1);
            channel->receiver.read_pos = end;
            channel->receiver.moved = 0;
            channel->receiver.received++;
            return XSHM_DRIVER_OK;
        }
        if (xshm_driver_jump(channel, found) < 0) return xshm_driver_broken(channel);
        /* A copy of a long message takes time: the sender is asked to evict more at once. */
        if (*length > XSHM_DRIVER_LONGEST_ORDINARY) break;
    }
    return XSHM_DRIVER_BUSY;
}

static __inline int xshm_driver_take(xshm_driver_t *channel, xshm_driver_u8 *to, xshm_driver_u32 room, xshm_driver_u32 *length)
{
    xshm_driver_u32 before;
    /* The bytes of long messages that may be copied and discarded. */
    xshm_driver_u64 left = 4 * (xshm_driver_u64)channel->longest;
    unsigned round;
    int code = XSHM_DRIVER_BUSY, pressed = 0;
    if (left < XSHM_DRIVER_DISCARDED) left = XSHM_DRIVER_DISCARDED;
    if (channel->corrupted) return XSHM_DRIVER_CORRUPTED;
    for (round = 0; round < 64 && code == XSHM_DRIVER_BUSY; round++) {
        *length = 0;
        code = xshm_driver_try_take(channel, to, room, length, 8);
        if (code == XSHM_DRIVER_BUSY) {
            /* The sender's next eviction then evicts half the queue, and so gives the receiver time. */
            pressed = 1;
            if (*length > XSHM_DRIVER_LONGEST_ORDINARY) {
                if (*length >= left) break;
                left -= *length;
            }
            if (xshm_driver_change(channel, XSHM_DRIVER_AT_CLIENT_WAKE, XSHM_DRIVER_PRESSURE, 0, &before) != XSHM_DRIVER_OK) {
                return XSHM_DRIVER_CORRUPTED;
            }
        }
    }
    if (pressed && xshm_driver_awake(channel, XSHM_DRIVER_PRESSURE) != XSHM_DRIVER_OK) return XSHM_DRIVER_CORRUPTED;
    if (code != XSHM_DRIVER_OK) return code;
    if ((channel->flags & XSHM_DRIVER_FLAG_REJECT) != 0) {
        return xshm_driver_announce_store(
            channel, XSHM_DRIVER_SPACE, XSHM_DRIVER_AWAKE_SPACE, XSHM_DRIVER_ALWAYS_SPACE, XSHM_DRIVER_EVENT_S2C_SPACE);
    }
    return xshm_driver_announce(channel, XSHM_DRIVER_SPACE, XSHM_DRIVER_ALWAYS_SPACE, XSHM_DRIVER_EVENT_S2C_SPACE);
}

/** \endcond */

/**
 * Takes a message, and copies it into a buffer.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param[out] buffer Gets the message. NULL: the call fails with XSHM_DRIVER_BUFFER_TOO_SMALL if there is a message.
 * \param size The size of `buffer` in bytes.
 * \param[out] length Gets the length of the message in bytes, also after XSHM_DRIVER_BUFFER_TOO_SMALL.
 * \retval XSHM_DRIVER_OK `buffer` has the message.
 * \retval XSHM_DRIVER_EMPTY There is no message.
 * \retval XSHM_DRIVER_BUFFER_TOO_SMALL The message is longer than the buffer, and stays in the queue.
 * \retval XSHM_DRIVER_BUSY The server evicts faster than messages can be taken. Try again.
 * \retval XSHM_DRIVER_OVER There is no session, or it has ended and all that the server sent was received.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The receiving thread.
 */
static __inline int xshm_driver_receive(xshm_driver_t *channel, void *buffer, xshm_driver_u32 size, xshm_driver_u32 *length)
{
    xshm_driver_u8 *to = (xshm_driver_u8 *)buffer;
    int code;
    if (!channel->connected) return XSHM_DRIVER_OVER;
    code = xshm_driver_take(channel, to, size, length);
    if (code != XSHM_DRIVER_EMPTY || xshm_driver_is_connected(channel)) return code;
    /* The server published what it sent before this side saw the end. */
    code = xshm_driver_take(channel, to, size, length);
    return code == XSHM_DRIVER_EMPTY ? XSHM_DRIVER_OVER : code;
}

/**
 * Checks whether a message is there, and leaves it in the queue.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param[out] length Gets the length of the message in bytes.
 * \retval XSHM_DRIVER_OK There is a message.
 * \retval XSHM_DRIVER_EMPTY There is none.
 * \retval XSHM_DRIVER_BUSY The server evicts faster than messages can be taken. Try again.
 * \retval XSHM_DRIVER_OVER There is no session, or it has ended and all that the server sent was received.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The receiving thread.
 */
static __inline int xshm_driver_peek(xshm_driver_t *channel, xshm_driver_u32 *length)
{
    int code = xshm_driver_receive(channel, (void *)0, 0, length);
    return code == XSHM_DRIVER_BUFFER_TOO_SMALL ? XSHM_DRIVER_OK : code;
}

/**
 * Announces that the caller sleeps until a message comes. The server sets event 0 also when a session ends. It cannot do so
 * when its process is killed: a driver detects that by the cleanup or a close of the file object.
 *
 * \ingroup driver
 * \param channel The channel.
 * \retval XSHM_DRIVER_OK Wait for event 0 (and for anything else that the caller waits for), then call xshm_driver_awake with
 *   XSHM_DRIVER_DATA.
 * \retval XSHM_DRIVER_LOOK Do not wait: a message is there. No call of xshm_driver_awake is needed then.
 * \retval XSHM_DRIVER_OVER There is no session, or it has ended and all that the server sent was received.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The receiving thread.
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

/** \cond */
/* ------------------------------------------------------------------------------------------------------- sending */

/* The number of bytes of pad before a frame that is sent now. */
static __inline xshm_driver_u64 xshm_driver_pad(const xshm_driver_t *channel, xshm_driver_u64 frame)
{
    xshm_driver_u64 left = xshm_driver_left(channel, channel->sender.write_pos);
    return frame > left ? left : 0;
}

/* Whether `total` bytes fit if the oldest unread message is at `read_pos`. The 64 bytes of the next header always stay free.
   */
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

/* Drops the messages that the server has taken. Its read_pos must be the end of one of this sender's messages. */
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
    /* An acquire load, so that the server has copied out the bytes that are then overwritten. */
    return xshm_driver_advance(channel, xshm_driver_load64(channel->sender.header + XSHM_DRIVER_AT_READ_POS));
}

/* Brings the ring's statistics up to date. Nothing depends on them. */
static __inline void xshm_driver_publish_counters(const xshm_driver_t *channel)
{
    xshm_driver_store64(channel->sender.header, channel->sender.write_pos);
    xshm_driver_store64(channel->sender.header + 16, channel->sender.sent);
    xshm_driver_store64(channel->sender.header + 24, channel->sender.evicted);
}

/* Checks for room. XSHM_DRIVER_OK: a message of `length` bytes has room. XSHM_DRIVER_FULL, XSHM_DRIVER_CORRUPTED. */
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

/* Evicts the oldest messages until a message of `length` bytes has room. */
static __inline int xshm_driver_make_room(xshm_driver_t *channel, xshm_driver_u32 length, xshm_driver_u32 *evicted)
{
    xshm_driver_u64 frame = xshm_driver_frame_size(length), total = xshm_driver_pad(channel, frame) + frame;
    xshm_driver_u32 bits;
    int code = xshm_driver_change(channel, XSHM_DRIVER_AT_SERVER_WAKE, 0, XSHM_DRIVER_PRESSURE, &bits);
    if (code != XSHM_DRIVER_OK) return code;
    /* Each iteration makes room, fails, or leaves fewer messages in the list. */
    while (!xshm_driver_fits(channel, total, channel->sender.read_pos, channel->sender.queued)) {
        xshm_driver_u32 queued = channel->sender.queued, count = 0;
        xshm_driver_u32 at_least = (bits & XSHM_DRIVER_PRESSURE) != 0 ? queued / 2 : 0;
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
    /* This fence precedes the first overwrite of an evicted byte. It pairs with the receiver's load of read_pos after an
       unexpected header, or with the receiver's failing compare-exchange. */
    xshm_driver_fence();
    xshm_driver_publish_counters(channel);
    return XSHM_DRIVER_OK;
}

/* Writes a payload, and pads the last word with zeros. */
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
    /* The server will look there for the next message. */
    xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, end), 0);
    xshm_driver_copy_in(channel, start + xshm_driver_before_payload(length), data, length);
    if (length > XSHM_DRIVER_LONGEST_ORDINARY) {
        header = (xshm_driver_u64)XSHM_DRIVER_LONG << 16 | sequence;
        xshm_driver_put(xshm_driver_place(channel, channel->sender.ring, start + 8), length);
    }
    xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, start), header);
    if (pad > 0) {
        header = (xshm_driver_u64)XSHM_DRIVER_PAD << 16 | sequence;
        xshm_driver_store64(xshm_driver_place(channel, channel->sender.ring, channel->sender.write_pos), header);
    }
    if (last >= channel->sender.ends_size) last -= channel->sender.ends_size;
    channel->sender.ends[last] = end;
    channel->sender.queued++;
    channel->sender.write_pos = end;
    channel->sender.sequence = (channel->sender.sequence + 1) & (XSHM_DRIVER_SEQUENCES - 1);
    channel->sender.sent++;
    return xshm_driver_announce_store(
        channel, XSHM_DRIVER_DATA, XSHM_DRIVER_AWAKE_DATA, XSHM_DRIVER_ALWAYS_DATA, XSHM_DRIVER_EVENT_C2S_DATA);
}

static __inline int xshm_driver_may_send(const xshm_driver_t *channel, xshm_driver_u32 length)
{
    if (channel->connected && channel->corrupted) return XSHM_DRIVER_CORRUPTED;
    if (!xshm_driver_is_connected(channel)) return XSHM_DRIVER_OVER;
    return xshm_driver_may_have(channel, length) ? XSHM_DRIVER_OK : XSHM_DRIVER_BAD_SIZE;
}

/** \endcond */

/**
 * Sends a message if there is room.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param data The message.
 * \param length Its length in bytes: 2 (0 with XSHM_DRIVER_FLAG_LENGTHS) to xshm_driver_longest_message.
 * \retval XSHM_DRIVER_OK The message is in the queue.
 * \retval XSHM_DRIVER_FULL There is no room. The queue is unchanged.
 * \retval XSHM_DRIVER_BAD_SIZE The length is not allowed.
 * \retval XSHM_DRIVER_OVER There is no session.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The sending thread.
 */
static __inline int xshm_driver_try_send(xshm_driver_t *channel, const void *data, xshm_driver_u32 length)
{
    int code = xshm_driver_may_send(channel, length);
    if (code == XSHM_DRIVER_OK) code = xshm_driver_room(channel, length);
    return code == XSHM_DRIVER_OK ? xshm_driver_push(channel, (const xshm_driver_u8 *)data, length) : code;
}

/**
 * Sends a message, and evicts the oldest unread messages if there is no room. On a channel whose server rejects when full it
 * is the same as xshm_driver_try_send.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param data The message.
 * \param length Its length in bytes: 2 (0 with XSHM_DRIVER_FLAG_LENGTHS) to xshm_driver_longest_message.
 * \param[out] evicted Gets the number of evicted messages. It must not be NULL.
 * \retval XSHM_DRIVER_OK The message is in the queue.
 * \retval XSHM_DRIVER_FULL There is no room, and the server rejects when full. The queue is unchanged.
 * \retval XSHM_DRIVER_BAD_SIZE The length is not allowed.
 * \retval XSHM_DRIVER_OVER There is no session.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The sending thread.
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

/**
 * Announces that the caller sleeps until there is room for a message.
 *
 * \ingroup driver
 * \param channel The channel.
 * \param length The length of the message in bytes.
 * \retval XSHM_DRIVER_OK Wait for event 3, then call xshm_driver_awake with XSHM_DRIVER_SPACE.
 * \retval XSHM_DRIVER_LOOK Do not wait: there is room.
 * \retval XSHM_DRIVER_BAD_SIZE The length is not allowed.
 * \retval XSHM_DRIVER_OVER There is no session.
 * \retval XSHM_DRIVER_CORRUPTED The peer broke the protocol. Leave the session.
 * \par Threads
 * The sending thread.
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

#if defined(__clang__)
#pragma clang diagnostic pop
#elif defined(__GNUC__) && defined(__cplusplus)
#pragma GCC diagnostic pop
#endif

#endif
