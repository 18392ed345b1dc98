/*
 * xshm: messages between the processes of one machine over shared memory. The C interface.
 *
 * Generated from the library's sources; changes go there. MIT license. CONTRIBUTING.md names the command that renders the comments
 * as HTML.
 */

/**
 * \page rules Rules for all functions
 *
 * These rules hold for all functions.
 *
 * - NULL never crashes: a function that returns a code returns SHM_ERROR_INVALID_PARAM, one that returns a handle NULL, one
 *   that returns a number 0, one that returns a bool false.
 * - A function that returns a handle returns NULL on failure, and shm_last_error reports the reason. The caller owns the
 *   handle until it calls the handle's stop, disconnect or free function, and must not use the handle afterwards.
 * - Any thread may call any function, with any handle, unless the function's comment restricts that. One thread may send while
 *   another receives. A thread may stop a handle while other threads are inside calls on it; those calls return first.
 * - The library reads arguments only during the call. It copies callbacks; their user_data must stay valid until the
 *   function that stops the handle has returned, and may be freed then, also inside a callback that stopped its own handle.
 *   (If a callback stops another handle, and a callback of that handle waits for this one, the stop returns while the
 *   other callback still runs. The functions that limit the wait (stop_timeout, disconnect_timeout) then return
 *   SHM_ERROR_NOT_READY, and the handle and user_data stay valid.)
 * - A callback must end by returning. A C++ exception, a longjmp out of it, pthread_exit or cancelling its thread
 *   would skip the library's own code: the behaviour is undefined, and an exception aborts the process. C++ programs catch
 *   everything in their callbacks, or use xshm.hpp, which does so and reports the exception to on_error.
 * - Times are in milliseconds. 0 checks once; SHM_FOREVER waits for ever.
 * - Besides the codes in its comment, each function can return SHM_ERROR_INVALID_PARAM, SHM_ERROR_INTERNAL and, after a
 *   fork, SHM_ERROR_FORKED.
 * - Signals: the library's threads block all signals but those of a fault of their own. A program that a callback starts
 *   inherits this. A signal handler may call shm_server_interrupt, shm_client_interrupt and shm_interrupter_interrupt, and no other
 *   function.
 * - Fork: a call on a handle that the parent created returns SHM_ERROR_FORKED at once. A function that stops a handle waits
 *   for nothing there; it releases the fork's hold on the name, and on the memory if no thread of the parent was inside a
 *   call. The parent's handle is not affected. A fork may create handles of its own. A daemon stops its copy of a server, and
 *   creates a server of the same name when the parent has stopped its own or has ended: until then that fails with
 *   SHM_ERROR_EXISTS. A fork that has closed the library's descriptors may stop copies of auto and multi servers only: to stop
 *   another copy would close descriptors that the fork has opened since. A callback that forks, and returns in the fork, ends the fork
 *   if it ran on a thread of the library; otherwise its call returns SHM_ERROR_FORKED.
 * - Descriptors (Linux): none of the library's has the number 0, 1 or 2, also if a standard stream is closed. Do not open a
 *   closed standard stream again while another thread creates a handle or connects: the library occupies the number then.
 * - Plug-ins: an auto or multi endpoint keeps the DLL or shared object loaded that contains the library; FreeLibrary and
 *   dlclose then only give up the caller's reference. If the callbacks are in another one, it must stay loaded until the
 *   endpoint has been stopped. On Linux, a plug-in whose library cargo made (and not ci/package.sh) is linked with
 *   `-Wl,--exclude-libs,libxshm.a`: without it, plug-ins that are loaded with RTLD_GLOBAL share one plug-in's copy of the library.
 *   A thread that has started an endpoint, or whose call has failed, keeps the shared object loaded until the thread ends, also
 *   after the endpoint was stopped (Linux). Stop these endpoints before, in a function of the plug-in, and let the threads that
 *   are inside calls
 *   return. Static objects of a DLL may stop handles. In DllMain, and so in constructors of static objects, do not call a
 *   function that waits, nor stop what was started there: the threads begin only when DllMain has returned.
 * - The end of the process: on Linux, exit runs the destructors of static objects while all threads run, so that a handle is
 *   stopped there as anywhere. On Windows, all other threads have ended when a DLL's static objects are destroyed. From then
 *   on no function waits: those that stop a handle return at once, and all others fail with SHM_ERROR_NOT_READY. The peer
 *   finds that the process has died, unless the handle had no threads of its own and no thread was inside a call on it.
 */


#ifndef XSHM_H
#define XSHM_H

#include <stdbool.h>
#include <stdint.h>
/** The major version that this header belongs to. \ingroup library */
#define XSHM_VERSION_MAJOR 0
/** The minor version that this header belongs to. \ingroup library */
#define XSHM_VERSION_MINOR 3
/** The patch version that this header belongs to. \ingroup library */
#define XSHM_VERSION_PATCH 0
/** The version that this header belongs to; xshm_version returns the library's. \ingroup library */
#define XSHM_VERSION \
    ((XSHM_VERSION_MAJOR << 16) | (XSHM_VERSION_MINOR << 8) | XSHM_VERSION_PATCH)

/* NULL for the functions of the headers, without a warning in C++. */
#if defined(_MSVC_LANG) || defined(__cplusplus) && __cplusplus >= 201103L
#define XSHM_NULL nullptr
#else
#define XSHM_NULL 0
#endif

/* Another header may have left its packing of structures in force. The end of this file restores it. */
#pragma pack(push, 8)
#define XSHM_PACKING_PUSHED


/**
 * shm_options_t.access: the server's user, the system and the administrators may connect.
 *
 * \ingroup options
 */
#define SHM_ACCESS_OWNER 0

/**
 * shm_options_t.access: every user of the machine may connect.
 *
 * \ingroup options
 */
#define SHM_ACCESS_EVERYONE 1

/**
 * shm_options_t.access: those of SHM_ACCESS_OWNER, and `users`, may connect.
 *
 * \ingroup options
 */
#define SHM_ACCESS_USERS 2

/**
 * shm_options_t.access: those users whom `security_descriptor` permits may connect. Windows only. The descriptor names an owner, and
 * grants clients the rights 0x120007: those for a section and for an event together.
 *
 * \ingroup options
 */
#define SHM_ACCESS_SECURITY_DESCRIPTOR 3

/**
 * shm_options_t.access: the system and the administrators may connect, and not the server's user. For a Windows server that runs
 * elevated: SHM_ACCESS_OWNER also admits those processes of its user that are not elevated.
 *
 * \ingroup options
 */
#define SHM_ACCESS_ADMINISTRATORS 4

/**
 * shm_options_t.trust: the client accepts servers of the client's own user and of the system (root on Linux); on Windows
 * also those whose section belongs to the group Administrators.
 *
 * \ingroup options
 */
#define SHM_TRUST_OWNER 0

/**
 * shm_options_t.trust: the client accepts servers of `users`.
 *
 * \ingroup options
 */
#define SHM_TRUST_USERS 1

/**
 * shm_options_t.trust: the client accepts any server that has the name.
 *
 * \ingroup options
 */
#define SHM_TRUST_ANYONE 2

/**
 * The smallest number of bytes of a message. On a channel with shm_options_t.max_message_bytes it is 0.
 *
 * \ingroup library
 */
#define SHM_MIN_MESSAGE 2

/**
 * The largest number of bytes of a message, on channels without shm_options_t.max_message_bytes.
 *
 * \ingroup library
 */
#define SHM_MAX_MESSAGE 65535

/**
 * The largest number of bytes of a call (shm_caller_call) and of its answer. On a channel with shm_options_t.max_message_bytes it is
 * that number minus 16.
 *
 * \ingroup calls
 */
#define SHM_MAX_CALL 65519

/**
 * A timeout that never passes.
 *
 * \ingroup library
 */
#define SHM_FOREVER UINT32_MAX

/**
 * shm_options_t.spin_us: the library chooses the time.
 *
 * \ingroup options
 */
#define SHM_SPIN_DEFAULT UINT32_MAX

/**
 * shm_event_t.kind: a session began.
 *
 * \ingroup options
 */
#define SHM_EVENT_CONNECTED 1

/**
 * shm_event_t.kind: a session ended; `error` says how.
 *
 * \ingroup options
 */
#define SHM_EVENT_LOST 2

/**
 * shm_event_t.kind: a peer was refused, or refused this side; `error` says why.
 *
 * \ingroup options
 */
#define SHM_EVENT_REFUSED 3

/**
 * shm_event_t.kind: the peer broke the protocol, and the session ended.
 *
 * \ingroup options
 */
#define SHM_EVENT_CORRUPTED 4

/**
 * The client id that on_error of shm_multi_callbacks_t gets if the error concerns no client.
 *
 * \ingroup multi_server
 */
#define SHM_NO_CLIENT UINT32_MAX

/**
 * The result code of a function, and of shm_last_error. 0 is success; all other codes are negative. New versions only
 * append codes.
 *
 * \ingroup library
 */
typedef enum shm_error_t {
    /**
     * The call succeeded.
     */
    SHM_SUCCESS = 0,
    /**
     * An argument is NULL but must not be, or an option has an invalid value.
     */
    SHM_ERROR_INVALID_PARAM = -1,
    /**
     * The system has not enough memory.
     */
    SHM_ERROR_MEMORY = -2,
    /**
     * The timeout passed. After a call to connect, shm_last_error_message says whether no server has the name, or the
     * server did not accept.
     */
    SHM_ERROR_TIMEOUT = -3,
    /**
     * There is no message in the queue.
     */
    SHM_ERROR_EMPTY = -4,
    /**
     * A running server, or something else, has the name.
     */
    SHM_ERROR_EXISTS = -5,
    /**
     * The slot has no client.
     */
    SHM_ERROR_NOT_FOUND = -6,
    /**
     * A privilege is missing (for a name that begins with "Global\\").
     */
    SHM_ERROR_ACCESS = -7,
    /**
     * The call is not possible now. The peer overwrites messages faster than they can be taken; or a callback needs something
     * that the call around it uses, or would have to wait for itself; or a message is reserved or borrowed in place. Try again
     * later. From the functions of a pending connect: the connect has ended.
     */
    SHM_ERROR_NOT_READY = -8,
    /**
     * The peer wrote what the protocol does not allow. The session is over.
     */
    SHM_ERROR_PROTOCOL = -9,
    /**
     * There is no room for the message. The queue is unchanged.
     */
    SHM_ERROR_FULL = -10,
    /**
     * The server has no free slot.
     */
    SHM_ERROR_NO_SLOT = -11,
    /**
     * The library has a defect, or the caller passed invalid memory. From `on_error` of xshm.hpp: a callback threw an exception.
     */
    SHM_ERROR_INTERNAL = -12,
    /**
     * There is no peer yet, or the peer has left. From a function that receives: all messages of the peer were received.
     */
    SHM_ERROR_NOT_CONNECTED = -13,
    /**
     * The peer's process ended without disconnecting. From a function that receives: all messages of the peer were
     * received.
     */
    SHM_ERROR_PEER_DIED = -14,
    /**
     * The server has another client, or has not yet looked for the next one.
     */
    SHM_ERROR_ALREADY_CONNECTED = -15,
    /**
     * The buffer is too small; the call stored the size that is needed. The message stays in the queue. (From shm_caller_call: the
     * rest of the answer is lost.)
     */
    SHM_ERROR_BUFFER_TOO_SMALL = -16,
    /**
     * The message has fewer than 2 bytes.
     */
    SHM_ERROR_MESSAGE_TOO_SMALL = -17,
    /**
     * The message has more than 65,535 bytes, or more than half the ring's bytes minus 8, or more than the server's
     * shm_options_t.max_message_bytes.
     */
    SHM_ERROR_MESSAGE_TOO_LARGE = -18,
    /**
     * shm_server_interrupt, shm_client_interrupt or stopping the handle ended the call.
     */
    SHM_ERROR_INTERRUPTED = -19,
    /**
     * The name or the user is invalid. A name has 1 to 80 bytes of UTF-8, and no backslash. A user is a SID or a number.
     */
    SHM_ERROR_INVALID_NAME = -20,
    /**
     * One side refuses to connect to the other, or is not allowed to.
     */
    SHM_ERROR_REFUSED = -21,
    /**
     * The peer has an incompatible version, or has other sizes than the caller requested.
     */
    SHM_ERROR_INCOMPATIBLE = -22,
    /**
     * A call of the operating system failed.
     */
    SHM_ERROR_SYSTEM = -23,
    /**
     * The handle belongs to the process that created it, and this process is a fork of that process.
     */
    SHM_ERROR_FORKED = -24,
    /**
     * The server that was called has dropped the call, and sends no answer.
     */
    SHM_ERROR_NO_ANSWER = -25,
} shm_error_t;

/**
 * One of a channel's two directions.
 *
 * \ingroup library
 */
typedef enum shm_direction_t {
    /**
     * Messages from the server to the client.
     */
    SHM_DIR_SERVER_TO_CLIENT = 0,
    /**
     * Messages from the client to the server.
     */
    SHM_DIR_CLIENT_TO_SERVER = 1,
} shm_direction_t;

/**
 * A client of a server for one client that works in the background.
 *
 * \ingroup auto_client
 */
typedef struct AutoClientHandle AutoClientHandle;

/**
 * A server for one client that works in the background.
 *
 * \ingroup auto_server
 */
typedef struct AutoServerHandle AutoServerHandle;

/**
 * A client that calls a server and waits for its answers.
 *
 * \ingroup calls
 */
typedef struct CallerHandle CallerHandle;

/**
 * A client of a server for one client.
 *
 * \ingroup client
 */
typedef struct ClientHandle ClientHandle;

/**
 * Ends the calls that connect with it, see shm_options_t.interrupter.
 *
 * \ingroup interrupters
 */
typedef struct InterrupterHandle InterrupterHandle;

/**
 * A client of a server for many clients.
 *
 * \ingroup multi_client
 */
typedef struct MultiClientHandle MultiClientHandle;

/**
 * A server for many clients.
 *
 * \ingroup multi_server
 */
typedef struct MultiServerHandle MultiServerHandle;

/**
 * A connect that an event loop finishes: no call on it waits. See shm_client_begin_connect.
 *
 * \ingroup event_loops
 */
typedef struct PendingConnectHandle PendingConnectHandle;

/**
 * A server for one client.
 *
 * \ingroup server
 */
typedef struct ServerHandle ServerHandle;

/**
 * Something that happened to a channel, for the program's log.
 *
 * \ingroup options
 */
typedef struct shm_event_t {
    /**
     * sizeof (shm_event_t) of the library. A newer library appends fields.
     */
    uint32_t struct_size;
    /**
     * One of SHM_EVENT_...
     */
    uint32_t kind;
    /**
     * The error. SHM_SUCCESS for SHM_EVENT_CONNECTED.
     */
    enum shm_error_t error;
    /**
     * SHM_EVENT_CONNECTED: the peer's process id. Otherwise 0.
     */
    uint32_t process_id;
    /**
     * SHM_EVENT_CONNECTED: the number of the connection, which grows with each connection of the channel. Otherwise 0.
     */
    uint32_t generation;
    /**
     * What happened, in English, with details.
     */
    const char *text;
} shm_event_t;

/**
 * Further options of an endpoint. Get a structure from shm_options_default, and change it. The library reads it only during
 * the call.
 *
 * \ingroup options
 */
typedef struct shm_options_t {
    /**
     * sizeof (shm_options_t). A newer library determines from it which fields exist.
     */
    uint32_t struct_size;
    /**
     * Servers: the largest number of messages that each direction queues. 0: 250, or the number that fits into a smaller
     * ring. Clients: 0 accepts any server; with another number the client refuses a server whose number differs.
     */
    uint32_t message_limit;
    /**
     * How long a waiting call polls before it sleeps, in microseconds. 0: it does not poll. SHM_SPIN_DEFAULT: up to 50 while
     * the peer usually answers within 25, about 2 otherwise, and 0 on a machine with one processor.
     */
    uint32_t spin_us;
    /**
     * How long shm_..._receive waits. The default is SHM_FOREVER. 0: it does not wait (SHM_ERROR_EMPTY).
     */
    uint32_t receive_timeout_ms;
    /**
     * How to treat a peer whose process cannot be watched. 0: refuse it. Otherwise accept it, and check at this interval
     * whether it still runs.
     */
    uint32_t check_interval_ms;
    /**
     * Servers: if not 0, shm_..._send of both sides returns SHM_ERROR_FULL where it would otherwise evict the oldest
     * messages.
     */
    uint32_t reject_when_full;
    /**
     * Servers: which users may connect, one of SHM_ACCESS_...
     */
    uint32_t access;
    /**
     * Clients: whose servers to connect to, one of SHM_TRUST_...
     */
    uint32_t trust;
    /**
     * For SHM_ACCESS_USERS and SHM_TRUST_USERS: SIDs as text ("S-1-5-32-545"), on Linux user ids ("1000").
     */
    const char *const *users;
    /**
     * The number of `users`.
     */
    uint32_t user_count;
    /**
     * For SHM_ACCESS_SECURITY_DESCRIPTOR: the size of `security_descriptor` in bytes.
     */
    uint32_t security_descriptor_size;
    /**
     * A security descriptor in self-relative form.
     */
    const void *security_descriptor;
    /**
     * Servers for many clients: the number of clients that share a worker thread, from 1 to 30. 0: 30.
     */
    uint32_t clients_per_worker;
    /**
     * Servers without a name: if not 0, the channel has events. The client gets them by shm_server_client_handles.
     */
    uint32_t anonymous_events;
    /**
     * Called for each event of a channel, for a log: a session that begins or ends, a peer that is refused, a peer that breaks the
     * protocol. NULL: no call. It runs on the thread that detects the event, inside that thread's call, and must not call a function
     * of this library with the same handle. `event` and its text are valid until it returns. It may run until the function that stops
     * the handle has returned, and, for a client, in the function that connects, also if that fails.
     */
    void (*on_event)(const struct shm_event_t *event, void *user_data);
    /**
     * Passed to on_event. It must be usable on all threads that use the handle.
     */
    void *event_user_data;
    /**
     * Clients that connect in a call (shm_client_connect_with_options, shm_multi_client_connect_with_options,
     * shm_caller_connect): by this another thread ends the call. NULL: nothing does.
     */
    const struct InterrupterHandle *interrupter;
    /**
     * Servers: the size of the longest message in bytes, from 2 to half of buffer_bytes minus 64 (minus 8, if buffer_bytes is at most
     * 131,072). A message may then have any size up to it, also 0 and 1. 0: messages have 2 to 65,535 bytes, and at most half of
     * buffer_bytes minus 8. Clients: 0 accepts any server; with another number the client refuses a server whose number differs.
     */
    uint32_t max_message_bytes;
    /**
     * 0.
     */
    uint32_t reserved;
} shm_options_t;

/**
 * A channel's name and size.
 *
 * \ingroup options
 */
typedef struct shm_endpoint_config_t {
    /**
     * 1 to 80 bytes of UTF-8, ending with a NUL, without a backslash. The prefix "Global\\" makes the name valid for the
     * whole machine. On Linux each network namespace, and so usually each container, has its own names. The library reads it only during the call.
     */
    const char *name;
    /**
     * Bytes in each direction's ring: a power of two from 4,096 to 2^30. 0: a server uses 2 MiB, a client uses the server's
     * size. A client with another number refuses a server whose size differs.
     */
    uint32_t buffer_bytes;
} shm_endpoint_config_t;

/**
 * A call that a client waits for the answer to. Two numbers, which may be copied and kept. They stand for this call alone: when its
 * session is over, an answer fails with SHM_ERROR_NOT_CONNECTED, and reaches no other client.
 *
 * \ingroup calls
 */
typedef struct shm_call_t {
    /**
     * The session of the client, as shm_server_session_auto and shm_multi_server_session return it.
     */
    uint64_t session;
    /**
     * The number of the call.
     */
    uint64_t id;
} shm_call_t;

/**
 * The callbacks of an endpoint. Any of them may be NULL.
 *
 * Of a synchronous endpoint (shm_server_..., shm_client_...) the callbacks run inside the call that detects the event, on its
 * thread. on_connect runs in the call that connects. on_disconnect runs once, in the first call to send, receive, poll or wait
 * for a client that finds the connection over. on_connect and on_disconnect run one at a time, in the order of the
 * connections. While one of them runs, other threads do not wait: the thread that runs it then also runs the callbacks that
 * became due meanwhile. on_data_available runs in a poll that finds a message. on_space_available runs in a
 * shm_..._send_timeout that had to wait for room and got it. on_overflow runs in the call that evicts messages, or that finds
 * that the peer has evicted some. on_error runs when the peer broke the protocol. on_message never runs.
 *
 * The callbacks of an auto endpoint run on its worker thread, one at a time; on_data_available runs before each on_message.
 *
 * A callback may call any function of this library, also with its own handle, and may stop that handle. Other callbacks than
 * on_start may run before the function that creates the handle has returned: they get the handle from where on_start has put it,
 * and must not free it before that function has returned. A callback must not throw an exception or leave by longjmp.
 *
 * Get a structure without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
 *
 * \ingroup options
 */
typedef struct shm_callbacks_t {
    /**
     * sizeof (shm_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
     */
    uint32_t struct_size;
    /**
     * A connection began.
     */
    void (*on_connect)(void *user_data);
    /**
     * The connection is over; shm_last_error reports how it ended.
     */
    void (*on_disconnect)(void *user_data);
    /**
     * A message is there.
     */
    void (*on_data_available)(void *user_data);
    /**
     * There is room again.
     */
    void (*on_space_available)(void *user_data);
    /**
     * An operation failed; shm_last_error_message describes the failure.
     */
    void (*on_error)(enum shm_error_t error, void *user_data);
    /**
     * Passed to each callback. It must be usable on the threads that the callbacks run on.
     */
    void *user_data;
    /**
     * A message arrived; `data` is valid until the callback returns.
     */
    void (*on_message)(enum shm_direction_t direction, const void *data, uint32_t size, void *user_data);
    /**
     * `count` messages of that direction were lost. Newer messages evicted them; or a server did not receive them before
     * the next session began (reported after on_disconnect); or, for an auto endpoint, they were left when a connection
     * ended or the endpoint was stopped.
     */
    void (*on_overflow)(enum shm_direction_t direction, uint32_t count, void *user_data);
    /**
     * The handle is about to start. This callback runs first of all, once, in the function that creates the handle, before that
     * function returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the
     * function returns NULL after all, the handle is gone.
     */
    void (*on_start)(void *handle, void *user_data);
    /**
     * Auto servers: a client called (shm_caller_call), and waits for the answer. `data` is valid until the callback returns. The
     * call may be answered later, on any thread, by shm_server_answer_auto, or ended by shm_server_refuse_auto. NULL: calls are
     * messages like any other.
     */
    void (*on_call)(struct shm_call_t call, const void *data, uint32_t size, void *user_data);
} shm_callbacks_t;

/**
 * The statistics of a channel's current session.
 *
 * \ingroup server client
 */
typedef struct shm_stats_t {
    /**
     * The number of this connection of the channel. It grows with each connection.
     */
    uint32_t generation;
    /**
     * Messages sent that the peer has not taken yet.
     */
    uint32_t send_depth;
    /**
     * Messages that this side has not received yet.
     */
    uint32_t receive_depth;
    /**
     * The bytes of this structure that the library has filled. It grows into `reserved`.
     */
    uint32_t struct_size;
    /**
     * Messages sent.
     */
    uint64_t sent;
    /**
     * Those of the sent messages that were evicted before the peer took them.
     */
    uint64_t send_dropped;
    /**
     * Messages received.
     */
    uint64_t received;
    /**
     * Messages that the peer evicted before this side took them. The number is known from the messages received since.
     */
    uint64_t receive_dropped;
    /**
     * Kernel signals sent. There is at most one for each of the peer's sleeps, or one for each message if a program waits
     * natively.
     */
    uint64_t signals_sent;
    /**
     * How often this side announced that it was going to sleep. If its last look after that finds a message, it does not
     * sleep. On a channel without events: how often it slept.
     */
    uint64_t sleeps;
    /**
     * Always 0. For counts of newer versions.
     */
    uint64_t reserved[4];
} shm_stats_t;

/**
 * The data events of a channel, for native waiters and drivers: handles on Windows, descriptors on Linux. The library owns
 * them.
 *
 * \ingroup native
 */
typedef struct shm_event_handles_t {
    /**
     * Set when the server has sent a message.
     */
    intptr_t s2c_data;
    /**
     * Set when the client has sent a message.
     */
    intptr_t c2s_data;
} shm_event_handles_t;

/**
 * All handles that the client's side of a channel needs, for a driver or another process. They are handles on Windows and
 * descriptors on Linux. On Linux an event to wait for and an event to set may be the same descriptor.
 *
 * \ingroup native
 */
typedef struct shm_client_handles_t {
    /**
     * The section.
     */
    intptr_t section;
    /**
     * The server has sent a message: the client waits for this event. -1 here and in all following fields: the channel has
     * no events.
     */
    intptr_t s2c_data;
    /**
     * The client has sent a message: the client sets this event.
     */
    intptr_t c2s_data;
    /**
     * The client has taken a message: the client sets this event.
     */
    intptr_t s2c_space;
    /**
     * The server has taken a message: the client waits for this event.
     */
    intptr_t c2s_space;
    /**
     * The client requests a connection: the client sets this event.
     */
    intptr_t request;
    /**
     * The server has answered: the client waits for this event.
     */
    intptr_t acknowledge;
    /**
     * Either side has left: the client sets this event, and may wait for it.
     */
    intptr_t disconnect;
} shm_client_handles_t;

/**
 * A message of a batch.
 *
 * \ingroup batches
 */
typedef struct shm_message_t {
    /**
     * Its bytes.
     */
    const void *data;
    /**
     * The number of bytes.
     */
    uint32_t size;
} shm_message_t;

/**
 * The objects that an event loop waits for: for messages (shm_server_wait_handles, shm_client_wait_handles), for room
 * (shm_server_room_handles, shm_client_room_handles), for a client (shm_server_accept_handles), or for the answer to a connect
 * (shm_pending_connect_wait_handles). They are handles on Windows and descriptors on Linux.
 *
 * \ingroup event_loops
 */
typedef struct shm_wait_handles_t {
    /**
     * Becomes ready when the peer has signalled: on Linux a descriptor that becomes readable (do not read from it), on Windows an
     * auto-reset event. It may be ready although nothing is armed. -1: the channel has no events.
     */
    intptr_t data;
    /**
     * Becomes ready when the peer's process has ended: a pidfd (Linux), or a process handle (Windows). -1: the channel has no events;
     * or the process cannot be watched, and check_interval_ms is set. Call shm_..._is_connected at this interval then. From
     * shm_server_accept_handles and shm_pending_connect_wait_handles it is also -1 if there is no process to watch, and always on
     * Linux, where `data` becomes ready.
     */
    intptr_t peer;
} shm_wait_handles_t;

/**
 * What a caller has done so far.
 *
 * \ingroup calls
 */
typedef struct shm_caller_stats_t {
    /**
     * The bytes of this structure that the library has filled. It grows into `reserved`.
     */
    uint32_t struct_size;
    /**
     * Always 0.
     */
    uint32_t padding;
    /**
     * Calls that were sent.
     */
    uint64_t calls;
    /**
     * Calls that got an answer, or SHM_ERROR_NO_ANSWER from the server.
     */
    uint64_t answers;
    /**
     * Answers that no call waited for any more, and that were dropped.
     */
    uint64_t late_answers;
    /**
     * Messages that are no answers, and were dropped.
     */
    uint64_t other_messages;
    /**
     * Messages of the server that were evicted before they could be received. Answers may be among them.
     */
    uint64_t lost_messages;
    /**
     * Always 0. For counts of newer versions.
     */
    uint64_t reserved[3];
} shm_caller_stats_t;

/**
 * How an auto endpoint behaves. Get a structure from shm_auto_options_default, and change it.
 *
 * \ingroup auto
 */
typedef struct shm_auto_options_t {
    /**
     * sizeof (shm_auto_options_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
     */
    uint32_t struct_size;
    /**
     * The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
     */
    uint32_t wait_timeout_ms;
    /**
     * The pause before the next attempt to connect, in milliseconds. The default is 100. Each further attempt of a client that
     * fails doubles it, up to longest_reconnect_delay_ms.
     */
    uint32_t reconnect_delay_ms;
    /**
     * The longest duration of a client's attempt to connect, in milliseconds. The default is 5000.
     */
    uint32_t connect_timeout_ms;
    /**
     * The largest number of messages that wait for a connection. The default is 256. When the queue is full, the oldest
     * message is dropped for the newest. 0: no message waits.
     */
    uint32_t max_send_queue;
    /**
     * The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
     */
    uint32_t recv_batch;
    /**
     * The longest pause between two attempts of a client to connect, in milliseconds. The default is 2000. If it is less than
     * reconnect_delay_ms, all pauses last reconnect_delay_ms.
     */
    uint32_t longest_reconnect_delay_ms;
    /**
     * By how much a pause is shortened at random, at most, in percent. The default is 20.
     */
    uint32_t reconnect_jitter_percent;
} shm_auto_options_t;

/**
 * The statistics of an auto endpoint, or of a client of a server for many clients, since its creation, over all its connections.
 *
 * \ingroup auto
 */
typedef struct shm_auto_stats_t {
    /**
     * The bytes of this structure that the library has filled. It grows into `reserved`.
     */
    uint32_t struct_size;
    /**
     * Always 0.
     */
    uint32_t padding;
    /**
     * Messages that were put into a ring.
     */
    uint64_t sent_messages;
    /**
     * Outgoing messages that were lost: dropped from the full queue, evicted, left in the ring when the peer was gone, or left
     * in the queue when the endpoint was stopped.
     */
    uint64_t send_overflows;
    /**
     * Messages that were received.
     */
    uint64_t received_messages;
    /**
     * Messages that the peer evicted before they could be received.
     */
    uint64_t receive_overflows;
    /**
     * Always 0. For counts of newer versions.
     */
    uint64_t reserved[4];
} shm_auto_stats_t;

/**
 * How a server for many clients behaves. Get a structure from shm_multi_options_default, and change it.
 *
 * \ingroup multi_server
 */
typedef struct shm_multi_options_t {
    /**
     * sizeof (shm_multi_options_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
     */
    uint32_t struct_size;
    /**
     * The number of slots. The default is 20.
     */
    uint32_t max_clients;
    /**
     * The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
     */
    uint32_t poll_timeout_ms;
    /**
     * The number of messages of one client that its worker delivers before it checks the next client. The default is 64. 0
     * counts as 1.
     */
    uint32_t recv_batch;
} shm_multi_options_t;

/**
 * The callbacks of a server for many clients. Any of them may be NULL. The callbacks for one client run on one worker
 * thread, one at a time, except on_client_connect, which runs on the thread that accepts. The callbacks for clients of
 * other workers may run at the same time. A callback may call any function of this library, and may stop the server.
 *
 * \ingroup multi_server
 */
typedef struct shm_multi_callbacks_t {
    /**
     * sizeof (shm_multi_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version 0.3.
     */
    uint32_t struct_size;
    /**
     * A client has got a slot. This callback runs before the client's first message. The client waits in its call to
     * connect until this callback returns.
     */
    void (*on_client_connect)(uint32_t client_id, void *user_data);
    /**
     * The client is gone; shm_last_error reports how its connection ended. This callback runs after the client's last
     * message.
     */
    void (*on_client_disconnect)(uint32_t client_id, void *user_data);
    /**
     * A message arrived; `data` is valid until the callback returns.
     */
    void (*on_message)(uint32_t client_id, const void *data, uint32_t size, void *user_data);
    /**
     * An operation failed; shm_last_error_message describes the failure. SHM_NO_CLIENT: the failure concerns no client.
     */
    void (*on_error)(uint32_t client_id, enum shm_error_t error, void *user_data);
    /**
     * Passed to each callback. It must be usable on the threads that the callbacks run on.
     */
    void *user_data;
    /**
     * `count` messages of that direction, between the server and this client, were lost: newer messages evicted them, or they
     * were left when the session ended.
     */
    void (*on_overflow)(uint32_t client_id, enum shm_direction_t direction, uint32_t count, void *user_data);
    /**
     * There is room again for a message to this client, for which shm_multi_server_try_send_to had found none.
     */
    void (*on_space_available)(uint32_t client_id, void *user_data);
    /**
     * The server is about to start. This callback runs first of all, once, in the function that starts the server, before that
     * function returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the
     * function returns NULL after all, the handle is gone.
     */
    void (*on_start)(struct MultiServerHandle *handle, void *user_data);
    /**
     * A client called (shm_caller_call), and waits for the answer. `data` is valid until the callback returns. The call may be
     * answered later, on any thread, by shm_multi_server_answer, or ended by shm_multi_server_refuse. NULL: calls are messages
     * like any other.
     */
    void (*on_call)(uint32_t client_id, struct shm_call_t call, const void *data, uint32_t size, void *user_data);
} shm_multi_callbacks_t;

/**
 * The outcome of a broadcast for one client.
 *
 * \ingroup multi_server
 */
typedef struct shm_broadcast_result_t {
    /**
     * The client's session, as shm_multi_server_session returns it.
     */
    uint64_t session;
    /**
     * The client's slot.
     */
    uint32_t client_id;
    /**
     * SHM_SUCCESS: the client got the message. Otherwise the reason, as from shm_multi_server_send_to.
     */
    enum shm_error_t result;
    /**
     * The number of older messages that were evicted for this one.
     */
    uint32_t evicted;
    /**
     * Always 0.
     */
    uint32_t reserved;
} shm_broadcast_result_t;

/**
 * The counts of a client's session.
 *
 * \ingroup multi_server
 */
typedef struct shm_client_stats_t {
    /**
     * The bytes of this structure that the library has filled. It grows into `reserved`.
     */
    uint32_t struct_size;
    /**
     * Messages in the ring that the client has not taken yet.
     */
    uint32_t send_depth;
    /**
     * Messages that were put into the ring.
     */
    uint64_t sent;
    /**
     * Of these, messages that were evicted before the client took them.
     */
    uint64_t send_dropped;
    /**
     * Messages that were received.
     */
    uint64_t received;
    /**
     * Messages that the client evicted before they could be received.
     */
    uint64_t receive_dropped;
    /**
     * Always 0. For counts of newer versions.
     */
    uint64_t reserved[4];
} shm_client_stats_t;

/**
 * How a client of a server for many clients behaves. Get a structure from shm_multi_client_options_default, and change it.
 *
 * \ingroup multi_client
 */
typedef struct shm_multi_client_options_t {
    /**
     * sizeof (shm_multi_client_options_t). A newer library determines from it which fields exist. 0 stands for the size in version
     * 0.3.
     */
    uint32_t struct_size;
    /**
     * How long the call to connect waits for the server and for the server to accept, in milliseconds. The default is 5000.
     */
    uint32_t lobby_timeout_ms;
    /**
     * How long the call then waits until the server has called on_client_connect, in milliseconds. The default is 5000.
     */
    uint32_t slot_timeout_ms;
    /**
     * The longest duration of one kernel wait. 0: no limit.
     */
    uint32_t poll_timeout_ms;
    /**
     * The number of messages that the worker delivers before it does other work. The default is 64. 0 counts as 1.
     */
    uint32_t recv_batch;
    /**
     * If not 0, the client connects again when a session is over. on_connect and on_disconnect run each time. Between two sessions
     * sending fails with SHM_ERROR_NOT_CONNECTED. The default is 0.
     */
    uint32_t reconnect;
    /**
     * The pause before the next attempt to connect, in milliseconds. The default is 100. Each further attempt that fails doubles
     * it, up to longest_reconnect_delay_ms, whose default is 2000.
     */
    uint32_t reconnect_delay_ms;
    /**
     * The longest pause, in milliseconds.
     */
    uint32_t longest_reconnect_delay_ms;
    /**
     * By how much a pause is shortened at random, at most, in percent. The default is 20.
     */
    uint32_t reconnect_jitter_percent;
} shm_multi_client_options_t;

/**
 * The callbacks of a client of a server for many clients. They run on the client's worker thread, one at a time. Any of
 * them may be NULL. A callback may call any function of this library, and may end the client.
 *
 * \ingroup multi_client
 */
typedef struct shm_multi_client_callbacks_t {
    /**
     * sizeof (shm_multi_client_callbacks_t). A newer library determines from it which fields exist. 0 stands for the size in version
     * 0.3.
     */
    uint32_t struct_size;
    /**
     * The client is connected, and has that slot.
     */
    void (*on_connect)(uint32_t slot_id, void *user_data);
    /**
     * The connection is over; shm_last_error reports how it ended.
     */
    void (*on_disconnect)(void *user_data);
    /**
     * A message arrived; `data` is valid until the callback returns.
     */
    void (*on_message)(const void *data, uint32_t size, void *user_data);
    /**
     * An operation failed; shm_last_error_message describes the failure.
     */
    void (*on_error)(enum shm_error_t error, void *user_data);
    /**
     * Passed to each callback. It must be usable on the threads that the callbacks run on.
     */
    void *user_data;
    /**
     * `count` messages of that direction were lost: newer messages evicted them, or they were left when the session ended.
     */
    void (*on_overflow)(enum shm_direction_t direction, uint32_t count, void *user_data);
    /**
     * There is room again for a message for which shm_multi_client_try_send had found none.
     */
    void (*on_space_available)(void *user_data);
    /**
     * The client is about to start. This callback runs first of all, once, in the function that connects, before that function
     * returns. `handle` is what the function is going to return: keep it where the other callbacks find it. If the function returns
     * NULL after all, the handle is gone.
     */
    void (*on_start)(struct MultiClientHandle *handle, void *user_data);
} shm_multi_client_callbacks_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the code of this thread's last failed call. A call that succeeds does not change it.
 *
 * In on_disconnect and on_client_disconnect it is the reason why the connection ended: SHM_ERROR_NOT_CONNECTED, the
 * peer left; SHM_ERROR_PEER_DIED, the peer's process ended; SHM_ERROR_INTERRUPTED, this side ended the connection;
 * or another error.
 *
 * \ingroup library
 * \return The code. SHM_SUCCESS: no call of this thread has failed.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_last_error(void);

/**
 * Describes the error of shm_last_error in English, with details.
 *
 * \ingroup library
 * \param[out] buffer Gets the text and a NUL, truncated to the buffer. May be NULL.
 * \param size The size of `buffer` in bytes, including the NUL.
 * \return The length of the whole text in bytes, without the NUL. 0: no call of this thread has failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_last_error_message(char *buffer, uint32_t size);

/**
 * Returns the meaning of a code in English.
 *
 * \ingroup library
 * \param code A code of shm_error_t, or any other number.
 * \return The text, never NULL. It belongs to the library, and is valid for ever.
 * \par Threads
 * Any thread.
 */
const char *shm_error_string(int32_t code);

/**
 * Returns the library's version in the form of XSHM_VERSION.
 *
 * \ingroup library
 * \return 65536 * major + 256 * minor + patch.
 * \par Threads
 * Any thread.
 */
uint32_t xshm_version(void);

/**
 * Creates an interrupter, by which another thread ends a call that connects.
 *
 * \ingroup interrupters
 * \return The interrupter. The caller owns it, and frees it by shm_interrupter_free. NULL: the call failed, with
 *   SHM_ERROR_SYSTEM or SHM_ERROR_MEMORY.
 * \par Threads
 * Any thread.
 */
struct InterrupterHandle *shm_interrupter_create(void);

/**
 * Makes the calls to connect that use this interrupter return SHM_ERROR_INTERRUPTED, now and later, until
 * shm_interrupter_resume. It has no effect on endpoints that are connected.
 *
 * \ingroup interrupters
 * \param interrupter The interrupter.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, and a signal handler.
 */
enum shm_error_t shm_interrupter_interrupt(const struct InterrupterHandle *interrupter);

/**
 * Ends the effect of shm_interrupter_interrupt: calls can connect again.
 *
 * \ingroup interrupters
 * \param interrupter The interrupter.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_interrupter_resume(const struct InterrupterHandle *interrupter);

/**
 * Frees an interrupter. Calls that connect with it go on, and nothing interrupts them any more.
 *
 * \ingroup interrupters
 * \param interrupter The interrupter, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, while no other thread passes the interrupter to a function.
 */
void shm_interrupter_free(struct InterrupterHandle *interrupter);

/**
 * Returns the default options of a channel.
 *
 * \ingroup options
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
struct shm_options_t shm_options_default(void);

/**
 * Starts a server under a name, with default options. It has no threads of its own.
 *
 * \ingroup server
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
 *   returns one of the following codes.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ServerHandle *shm_server_start(const struct shm_endpoint_config_t *config,
                                      const struct shm_callbacks_t *callbacks);

/**
 * Starts a server under a name, with options.
 *
 * \ingroup server
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options The options. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
 *   returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ServerHandle *shm_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                   const struct shm_callbacks_t *callbacks,
                                                   const struct shm_options_t *options);

/**
 * Starts a server without a name. The client gets the section in another way: the program duplicates
 * shm_server_section_handle into the client's process, for shm_client_attach.
 *
 * The channel has no events unless shm_options_t.anonymous_events asks for them. Without events, a side that waits
 * looks into the section every millisecond (Windows: with each tick of the system's timer, by default every 15.6
 * ms). With events, the client gets them by shm_server_client_handles.
 *
 * \ingroup server
 * \param buffer_bytes Bytes in each direction's ring, as in shm_endpoint_config_t. 0: 2 MiB.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options The options. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_server_stop. NULL: the call failed; shm_last_error
 *   returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ServerHandle *shm_server_start_anonymous(uint32_t buffer_bytes,
                                                const struct shm_callbacks_t *callbacks,
                                                const struct shm_options_t *options);

/**
 * Waits for a client, and begins a session with empty queues. Until the session begins, other threads can receive
 * the remaining messages of the previous client. Then these messages are discarded, and on_overflow is called with
 * their number.
 *
 * \ingroup server
 * \param handle The server.
 * \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks once.
 * \retval SHM_SUCCESS A client is connected.
 * \retval SHM_ERROR_TIMEOUT No client came in time.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the server, ended the call.
 * \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
 * \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
 *   accept another client.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. Call again:
 *   the next attempt is made 20 ms after this one, or at the end of the call's time if that is earlier.
 * \par Threads
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_server_wait_for_client(struct ServerHandle *handle, uint32_t timeout_ms);

/**
 * Waits for a client that does not signal its request. Looks into the section every millisecond. In all else it is
 * the same as shm_server_wait_for_client.
 *
 * \ingroup server
 * \param handle The server.
 * \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks once.
 * \retval SHM_SUCCESS A client is connected.
 * \retval SHM_ERROR_TIMEOUT No client came in time.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the server, ended the call.
 * \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
 * \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
 *   accept another client.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. Call again:
 *   the next attempt is made 20 ms after this one, or at the end of the call's time if that is earlier.
 * \par Threads
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_server_wait_for_client_noevent(struct ServerHandle *handle, uint32_t timeout_ms);

/**
 * Ends the session with the present client. The client receives what was sent before it detects the end. A server
 * with a name can accept the next client at once, unless the program has asked for handles of the channel. Otherwise
 * the server can accept the next client when this client no longer uses the section.
 *
 * \ingroup server
 * \param handle The server.
 * \retval SHM_SUCCESS The session is over.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_disconnect_client(struct ServerHandle *handle);

/**
 * Sends a message to the client. Never waits: a full queue evicts its oldest messages, and on_overflow is called
 * with their number.
 *
 * \ingroup server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send(struct ServerHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the client if there is room. Evicts nothing.
 *
 * \ingroup server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_try_send(struct ServerHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the client, and waits for room if there is none. Evicts nothing. on_space_available is called
 * if the call had to wait and got room.
 *
 * \ingroup server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time. Nothing was sent.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send_timeout(struct ServerHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * Waits for a message of the client, and copies it into a buffer. It waits as long as
 * shm_options_t.receive_timeout_ms allows, by default without a limit.
 *
 * \ingroup server
 * \param handle The server.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_TIMEOUT The time of the options passed.
 * \retval SHM_ERROR_EMPTY The time of the options is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_READY The time of the options passed while the client overwrote messages faster than the
 *   call could take one.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive(struct ServerHandle *handle, void *buffer, uint32_t *size);

/**
 * Copies a message of the client into a buffer, without waiting.
 *
 * \ingroup server
 * \param handle The server.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_EMPTY There is no message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_NOT_READY The client overwrote messages faster than the call could take one. Try again.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_try_receive(struct ServerHandle *handle, void *buffer, uint32_t *size);

/**
 * Waits for a message of the client for a limited time, and copies it into a buffer.
 *
 * \ingroup server
 * \param handle The server.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
 *   one.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive_timeout(struct ServerHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * Waits until a message of the client is there, and leaves it in the queue. on_data_available is called if there is
 * one.
 *
 * \ingroup server
 * \param handle The server.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS A message is there.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_poll(struct ServerHandle *handle, uint32_t timeout_ms);

/**
 * Returns the size of the longest message in bytes, in both directions: 65,535, or shm_options_t.max_message_bytes of the server, or
 * what the ring has room for.
 *
 * \ingroup server
 * \param handle The server.
 * \return The size. 0: the call failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_server_max_message_bytes(const struct ServerHandle *handle);

/**
 * Returns whether the client is connected. Asks the system whether the client's process still runs.
 *
 * \ingroup server
 * \param handle The server.
 * \return true: the client is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_server_is_connected(const struct ServerHandle *handle);

/**
 * Stores the client's process id and user. The process id is the one that the client states; on Linux, if the server
 * has a name and the program has not asked for handles of the channel, it comes from the kernel.
 *
 * \ingroup server
 * \param handle The server.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The client was stored. It may have left since.
 * \retval SHM_ERROR_NOT_CONNECTED There was no client yet.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_peer(const struct ServerHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * Stores the statistics of the present session, or of the last one. Waits for no call of another thread: while one
 * waits, the figures are those from before its call.
 *
 * \ingroup server
 * \param handle The server.
 * \param[out] out Gets the statistics. Zeros after a failure.
 * \retval SHM_SUCCESS The statistics were stored.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_stats(const struct ServerHandle *handle, struct shm_stats_t *out);

/**
 * Makes waiting calls on this server return SHM_ERROR_INTERRUPTED, now and later, until shm_server_resume. Calls
 * that do not need to wait still work.
 *
 * \ingroup server
 * \param handle The server.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, and a signal handler.
 */
enum shm_error_t shm_server_interrupt(const struct ServerHandle *handle);

/**
 * Ends the effect of shm_server_interrupt: calls may wait again.
 *
 * \ingroup server
 * \param handle The server.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_resume(const struct ServerHandle *handle);

/**
 * Stores the channel's data events, for programs and drivers that wait for them natively. From this call on every
 * message is signalled, and successive clients use the same section: each client can read what the previous client
 * left there.
 *
 * \ingroup native
 * \param handle The server.
 * \param[out] out Gets the events. The library owns them: duplicate them to pass them on. Zeros after a failure.
 * \return true: the events were stored. false: the call failed; shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An argument is NULL, or the server has no name and no events.
 * \retval SHM_ERROR_NOT_READY A message is reserved or borrowed in place. Commit or release it first.
 * \par Threads
 * Any thread.
 */
bool shm_server_get_event_handles(struct ServerHandle *handle, struct shm_event_handles_t *out);

/**
 * Stores all handles that the client's side of this channel needs. They are for a driver or another process that
 * connects without the name (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that
 * a client needs, and no others.
 *
 * From this call on, successive clients use the same section: each client can read what the previous client left
 * there.
 *
 * \ingroup native
 * \param handle The server.
 * \param[out] out Gets the handles. The library owns them, and keeps them open as long as the server exists:
 *   duplicate them into the other process. All fields are -1 after a failure.
 * \retval SHM_SUCCESS The handles were stored.
 * \retval SHM_ERROR_NOT_READY A message is reserved or borrowed in place. Commit or release it first.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_client_handles(const struct ServerHandle *handle, struct shm_client_handles_t *out);

/**
 * Returns the handle of the section, on Linux its descriptor. Duplicate it into a client's process for
 * shm_client_attach, or pass it to a driver. From this call on, successive clients use the same section.
 *
 * \ingroup native
 * \param handle The server.
 * \return The handle, which the library owns. 0: the call failed, with SHM_ERROR_NOT_READY if a message is reserved
 *   or borrowed in place; commit or release that message first.
 * \par Threads
 * Any thread.
 */
intptr_t shm_server_section_handle(const struct ServerHandle *handle);

/**
 * Sends messages to the client, in order, each as shm_server_send does. The first few messages wake a sleeping
 * client.
 *
 * \ingroup batches
 * \param handle The server.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_FULL it is 0, although the first messages may have been sent. May be NULL.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_FULL The server's options reject when full, and not all messages had room.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send_batch(struct ServerHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * Sends messages to the client, in order, as long as there is room. Evicts nothing.
 *
 * \ingroup batches
 * \param handle The server.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_FULL it is 0. May be NULL.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_FULL Not all messages had room.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_try_send_batch(struct ServerHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * Sends messages to the client, in order, and waits for room where there is none. Evicts nothing.
 *
 * \ingroup batches
 * \param handle The server.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_TIMEOUT and SHM_ERROR_FULL, more messages may have been sent. May be NULL.
 * \param timeout_ms How long to wait for room in all, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_TIMEOUT Not all messages had room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and not all messages had room.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call. Some messages may have
 *   been sent.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send_batch_timeout(struct ServerHandle *handle,
                                               const struct shm_message_t *messages,
                                               uint32_t count,
                                               uint32_t *sent,
                                               uint32_t timeout_ms);

/**
 * Waits for a message of the client, and takes it together with all further messages that are there and have room.
 * The messages lie in the buffer one after the other.
 *
 * \ingroup batches
 * \param handle The server.
 * \param[out] buffer Gets the bytes of the messages.
 * \param size The size of `buffer` in bytes. 0: the call fails with SHM_ERROR_INVALID_PARAM.
 * \param[out] messages Gets the address in `buffer` and the size of each message.
 * \param[in,out] count Before the call the number of elements of `messages`, at least 1; after it the number of
 *   messages. 0 after a failure.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS At least one message was received.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL The first message alone is longer than the buffer, and stays in the queue. This
 *   cannot happen with a buffer of the channel's longest message.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
 *   one.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive_batch(struct ServerHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * Reserves room for a message to the client in shared memory. The caller writes the message there, and sends it by
 * shm_server_commit. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
 * number.
 *
 * Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is
 * sent ends the reservation. The client can write the memory too: do not trust what you read back from there. The
 * address is valid until the commit, the next reservation, or the end of the handle. It stays valid when the session
 * ends, and never refers to another session.
 *
 * \ingroup in_place
 * \param handle The server.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_server_reserve(struct ServerHandle *handle, uint32_t size, void **data);

/**
 * Reserves room for a message to the client if there is room. Evicts nothing. In all else it is the same as
 * shm_server_reserve.
 *
 * \ingroup in_place
 * \param handle The server.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_server_try_reserve(struct ServerHandle *handle, uint32_t size, void **data);

/**
 * Reserves room for a message to the client, and waits for room if there is none. Evicts nothing. In all else it is
 * the same as shm_server_reserve.
 *
 * \ingroup in_place
 * \param handle The server.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_server_reserve_timeout(struct ServerHandle *handle,
                                            uint32_t size,
                                            void **data,
                                            uint32_t timeout_ms);

/**
 * Sends the message that the caller has written to the memory from shm_server_reserve.
 *
 * \ingroup in_place
 * \param handle The server.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_INVALID_PARAM Nothing is reserved, or another message was sent since, or the session of the
 *   reservation is over.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over, and the message may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * The thread that reserves: see shm_server_reserve.
 */
enum shm_error_t shm_server_commit(struct ServerHandle *handle);

/**
 * Waits for a message of the client, and stores its address in shared memory; it makes no copy. The message stays in
 * the queue until shm_server_release, and the client does not overwrite it. It works only if the server's options
 * reject when full.
 *
 * Use it only with trusted peers: a peer that breaks the rules can change the message while it is read. The address
 * is valid until the release, the next call of shm_server_borrow, or the end of the handle. It stays valid when the
 * session ends, and never refers to another session.
 *
 * \ingroup in_place
 * \param handle The server.
 * \param[out] data Gets the address of the message. NULL after a failure.
 * \param[out] size Gets the size of the message in bytes. 0 after a failure.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_INVALID_PARAM The channel evicts: the server's options do not reject when full.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time receives or borrows. Another thread may send.
 */
enum shm_error_t shm_server_borrow(struct ServerHandle *handle, const void **data, uint32_t *size, uint32_t timeout_ms);

/**
 * Takes the message from shm_server_borrow out of the queue. Its address must not be used afterwards.
 *
 * \ingroup in_place
 * \param handle The server.
 * \retval SHM_SUCCESS The message is out of the queue.
 * \retval SHM_ERROR_INVALID_PARAM Nothing is borrowed, or the message was received since, or its session has ended
 *   and another session has begun.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * The thread that borrows: see shm_server_borrow.
 */
enum shm_error_t shm_server_release(struct ServerHandle *handle);

/**
 * Stores the objects that an event loop waits for, to receive from the client. Each session has its own objects.
 * They may outlive the session, and get no more signals then.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \retval SHM_SUCCESS The objects were stored.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_wait_handles(const struct ServerHandle *handle, struct shm_wait_handles_t *out);

/**
 * Asks the client to signal its next message, so that an event loop can wait for the signal. Then wait until one of
 * the objects of shm_server_wait_handles is ready, call shm_server_disarm, and receive. The objects may become ready
 * without a message. examples/c/event_loop.c is a whole loop.
 *
 * When shm_wait_handles_t.peer becomes ready, call shm_server_is_connected, which records that the client has died.
 * The messages that it sent before can still be received.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param[out] is_ready true: do not wait, but receive by shm_server_try_receive until it returns SHM_ERROR_EMPTY,
 *   because a message is there or the session is over. false: wait. false after a failure.
 * \retval SHM_SUCCESS `*is_ready` says whether to wait.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * One thread at a time receives or arms. Another thread may send.
 */
enum shm_error_t shm_server_arm(struct ServerHandle *handle, bool *is_ready);

/**
 * Withdraws the request of shm_server_arm, and resets the signal if it has come.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \retval SHM_SUCCESS The request is withdrawn.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * One thread at a time receives or arms. Another thread may send.
 */
enum shm_error_t shm_server_disarm(struct ServerHandle *handle);

/**
 * Stores the objects that an event loop waits for until there is room to send to the client. Each session has its own
 * objects. They may outlive the session, and get no more signals then.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \retval SHM_SUCCESS The objects were stored.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_room_handles(const struct ServerHandle *handle, struct shm_wait_handles_t *out);

/**
 * Asks the client to signal when it next takes a message, so that an event loop can wait for room. Then wait until one
 * of the objects of shm_server_room_handles is ready, call shm_server_disarm_room, and send. There may still be too little
 * room then: arm again.
 *
 * When shm_wait_handles_t.peer becomes ready, call shm_server_is_connected, which records that the client has died.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param size The size of the message that is to be sent, in bytes: 2 to 65,535.
 * \param[out] is_ready true: do not wait, but send by shm_server_try_send, because there is room for such a message or
 *   the session is over. false: wait. false after a failure.
 * \retval SHM_SUCCESS `*is_ready` says whether to wait.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL `size` is less than 2.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE `size` is more than 65,535, or more than the ring allows.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * One thread at a time sends or arms for room. Another thread may receive.
 */
enum shm_error_t shm_server_arm_room(struct ServerHandle *handle,
                                     uint32_t size,
                                     bool *is_ready);

/**
 * Withdraws the request of shm_server_arm_room, and resets the signal if it has come.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \retval SHM_SUCCESS The request is withdrawn.
 * \retval SHM_ERROR_NOT_CONNECTED There was no session yet.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * One thread at a time sends or arms for room. Another thread may receive.
 */
enum shm_error_t shm_server_disarm_room(struct ServerHandle *handle);

/**
 * Accepts a client that waits, for an event loop: does what can be done without waiting. If no session began, wait
 * until one of the objects of shm_server_accept_handles is ready, and call it again. In all else it is the same as
 * shm_server_wait_for_client.
 *
 * A client connects in several steps, and several clients may wait, so several calls may be needed before a session
 * begins. Between the steps the server waits for no client: a client that is slow loses its turn.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param[out] is_accepted true: a client is connected. false: wait. false after a failure.
 * \retval SHM_SUCCESS `*is_accepted` says whether a client is connected.
 * \retval SHM_ERROR_ALREADY_CONNECTED The present client is still connected. The call changes nothing.
 * \retval SHM_ERROR_REFUSED The server cannot watch the client's process, and check_interval_ms is 0. Call again to
 *   accept another client.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM The process lacks a resource for another session, for instance a descriptor. For 20 ms from
 *   now on, this function accepts no client.
 * \par Threads
 * Any thread; callers wait for each other, and for a thread that is inside shm_server_wait_for_client.
 */
enum shm_error_t shm_server_try_accept(struct ServerHandle *handle, bool *is_accepted);

/**
 * Stores the objects that an event loop waits for until there may be a client to accept, and how long to wait at most.
 * They are valid until the next call of shm_server_try_accept: ask for them again after each call. While the server
 * has a client, they become ready when this client has left or died.
 *
 * On Linux, shm_wait_handles_t.data is an epoll descriptor that stays the same file as long as the server exists. On a
 * channel without events there is no object that becomes ready, and `*next_look_ms` is 1.
 *
 * \ingroup event_loops
 * \param handle The server.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \param[out] next_look_ms Gets the time in milliseconds after which to call shm_server_try_accept although no object
 *   is ready. SHM_FOREVER: there is no such time. 0 after a failure.
 * \retval SHM_SUCCESS The objects and the time were stored.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles. Call shm_server_try_accept again after 20 ms.
 * \par Threads
 * Any thread; callers wait for each other, and for a thread that is inside shm_server_wait_for_client.
 */
enum shm_error_t shm_server_accept_handles(struct ServerHandle *handle,
                                           struct shm_wait_handles_t *out,
                                           uint32_t *next_look_ms);

/**
 * Waits for a message, copies it into a buffer, and finds out whether it is a call (shm_caller_call), whose caller
 * waits for an answer. In all else it is the same as shm_server_receive_timeout.
 *
 * \ingroup calls
 * \param handle The server.
 * \param[out] buffer Gets the message, or the bytes that the caller has passed. It needs 16 bytes more than the
 *   longest call.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the number of bytes received.
 * \param[out] is_call true: the message is a call. false: it is one like any other.
 * \param[out] call Gets the call, for shm_server_answer. Zeros if the message is no call.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS A message or a call was received.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_READY The time passed while the client overwrote messages faster than the call could take
 *   one.
 * \retval SHM_ERROR_NOT_CONNECTED There is no client yet, or the client has left and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_server_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive_call(struct ServerHandle *handle,
                                         void *buffer,
                                         uint32_t *size,
                                         bool *is_call,
                                         struct shm_call_t *call,
                                         uint32_t timeout_ms);

/**
 * Answers a call of a client. Never waits: if the client's queue is full, the answer evicts the oldest messages.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \param data The answer. The library copies it during the call. May be NULL if `size` is 0.
 * \param size The size of the answer in bytes: 0 to SHM_MAX_CALL.
 * \retval SHM_SUCCESS The answer is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The answer has more than SHM_MAX_CALL bytes, or more than the ring allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_answer(struct ServerHandle *handle,
                                   struct shm_call_t call,
                                   const void *data,
                                   uint32_t size);

/**
 * Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
 * shm_server_answer.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \retval SHM_SUCCESS The refusal is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_refuse(struct ServerHandle *handle, struct shm_call_t call);

/**
 * Stops the server and frees the handle. The client receives what was sent, and then detects that the server has
 * left.
 *
 * Calls of other threads return first, with SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of
 * on_disconnect. Those threads cannot tell from the code that the handle is gone. So end them before this call (by a
 * flag of the program, shm_server_interrupt, and a join).
 *
 * This function calls no callback, and no callback begins after it has returned: the program may then free
 * user_data. From inside a callback of this handle it waits only for the calls of other threads. That callback is
 * the last, and the handle is freed when the call around that callback returns. From a callback of another handle it
 * also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
 * returns while the callback of this handle still runs.
 *
 * \ingroup server
 * \param handle The server, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_server_stop(struct ServerHandle *handle);

/**
 * Connects to the server that has the name, with default options. Waits until the server exists, until the previous
 * client has left, and until the server accepts.
 *
 * \ingroup client
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
 *   succeeds.
 * \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
 *   says which.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ClientHandle *shm_client_connect(const struct shm_endpoint_config_t *config,
                                        const struct shm_callbacks_t *callbacks,
                                        uint32_t timeout_ms);

/**
 * Connects to the server that has the name, with options. In all else it is the same as shm_client_connect.
 *
 * \ingroup client
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options The options. NULL: the defaults.
 * \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
 *   succeeds.
 * \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
 *   says which.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ClientHandle *shm_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                     const struct shm_callbacks_t *callbacks,
                                                     const struct shm_options_t *options,
                                                     uint32_t timeout_ms);

/**
 * Connects to a server without a name, by a handle to its section in this process. It does not check which user owns
 * the server.
 *
 * \ingroup client
 * \param section_handle The handle, on Linux the descriptor. The library duplicates it; the caller keeps its own.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options The options. NULL: the defaults.
 * \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
 *   succeeds.
 * \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT The server did not accept in time.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_REFUSED The handle is not for a section, or the channel has events: use
 *   shm_client_attach_handles then.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ClientHandle *shm_client_attach(intptr_t section_handle,
                                       const struct shm_callbacks_t *callbacks,
                                       const struct shm_options_t *options,
                                       uint32_t timeout_ms);

/**
 * Connects to a server by the handles from its shm_server_client_handles, duplicated into this process. It does not
 * check which user owns the server.
 *
 * \ingroup client
 * \param handles The handles. The library duplicates them once more; the caller keeps its own.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options The options. NULL: the defaults.
 * \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
 *   succeeds.
 * \return The handle, which the caller owns and frees by shm_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT The server did not accept in time.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_REFUSED The handles have events and the channel has none, or the reverse. Or a handle is not for
 *   the object that it should be for; on Windows, an event must not be a manual-reset event.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct ClientHandle *shm_client_attach_handles(const struct shm_client_handles_t *handles,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_options_t *options,
                                               uint32_t timeout_ms);

/**
 * Sends a message to the server. Never waits: a full queue evicts its oldest messages, and on_overflow is called
 * with their number.
 *
 * \ingroup client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server if there is room. Evicts nothing.
 *
 * \ingroup client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_try_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server, and waits for room if there is none. Evicts nothing. on_space_available is called
 * if the call had to wait and got room.
 *
 * \ingroup client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time. Nothing was sent.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_send_timeout(struct ClientHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * Waits for a message of the server, and copies it into a buffer. It waits as long as
 * shm_options_t.receive_timeout_ms allows, by default without a limit.
 *
 * \ingroup client
 * \param handle The client.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_TIMEOUT The time of the options passed.
 * \retval SHM_ERROR_EMPTY The time of the options is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_READY The time of the options passed while the server overwrote messages faster than the
 *   call could take one.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_client_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * Copies a message of the server into a buffer, without waiting.
 *
 * \ingroup client
 * \param handle The client.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_EMPTY There is no message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_NOT_READY The server overwrote messages faster than the call could take one. Try again.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_client_try_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * Waits for a message of the server for a limited time, and copies it into a buffer.
 *
 * \ingroup client
 * \param handle The client.
 * \param[out] buffer Gets the message. May be NULL if `*size` is 0.
 * \param[in,out] size Before the call the size of `buffer` in bytes, after it the size of the message.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS `buffer` has the message.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*size` is the size needed. The message stays in the queue.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_READY The time passed while the server overwrote messages faster than the call could take
 *   one.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_client_receive_timeout(struct ClientHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * Waits until a message of the server is there, and leaves it in the queue. on_data_available is called if there is
 * one.
 *
 * \ingroup client
 * \param handle The client.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS A message is there.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_client_poll(struct ClientHandle *handle, uint32_t timeout_ms);

/**
 * Returns the size of the longest message in bytes, in both directions: 65,535, or shm_options_t.max_message_bytes of the server, or
 * what the ring has room for.
 *
 * \ingroup client
 * \param handle The client.
 * \return The size. 0: the call failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_client_max_message_bytes(const struct ClientHandle *handle);

/**
 * Returns whether the server is connected. Asks the system whether the server's process still runs.
 *
 * \ingroup client
 * \param handle The client.
 * \return true: the server is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_client_is_connected(const struct ClientHandle *handle);

/**
 * Stores the server's process id and user. The process id is the one that the server states; on Linux, if the server
 * has a name, it comes from the kernel. The user is the owner of the section, which proves which user created it.
 *
 * \ingroup client
 * \param handle The client.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The server was stored. It may have left since.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_peer(const struct ClientHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * Stores the statistics of the present session, or of the last one. Waits for no call of another thread: while one
 * waits, the figures are those from before its call.
 *
 * \ingroup client
 * \param handle The client.
 * \param[out] out Gets the statistics. Zeros after a failure.
 * \retval SHM_SUCCESS The statistics were stored.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_stats(const struct ClientHandle *handle, struct shm_stats_t *out);

/**
 * Makes waiting calls on this client return SHM_ERROR_INTERRUPTED, now and later, until shm_client_resume. Calls
 * that do not need to wait still work.
 *
 * \ingroup client
 * \param handle The client.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, and a signal handler.
 */
enum shm_error_t shm_client_interrupt(const struct ClientHandle *handle);

/**
 * Ends the effect of shm_client_interrupt: calls may wait again.
 *
 * \ingroup client
 * \param handle The client.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_resume(const struct ClientHandle *handle);

/**
 * Sends messages to the server, in order, each as shm_client_send does. The first few messages wake a sleeping
 * server.
 *
 * \ingroup batches
 * \param handle The client.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_FULL it is 0, although the first messages may have been sent. May be NULL.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_FULL The server's options reject when full, and not all messages had room.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_send_batch(struct ClientHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * Sends messages to the server, in order, as long as there is room. Evicts nothing.
 *
 * \ingroup batches
 * \param handle The client.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_FULL it is 0. May be NULL.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_FULL Not all messages had room.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_try_send_batch(struct ClientHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * Sends messages to the server, in order, and waits for room where there is none. Evicts nothing.
 *
 * \ingroup batches
 * \param handle The client.
 * \param messages The messages. The library copies them during the call. May be NULL if `count` is 0.
 * \param count The number of messages.
 * \param[out] sent Gets the number of messages that were sent, counted from the first. After other failures than
 *   SHM_ERROR_TIMEOUT and SHM_ERROR_FULL, more messages may have been sent. May be NULL.
 * \param timeout_ms How long to wait for room in all, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS All messages are in the queue.
 * \retval SHM_ERROR_TIMEOUT Not all messages had room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and not all messages had room.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call. Some messages may have
 *   been sent.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL A message has fewer than 2 bytes. None was sent.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE A message has more bytes than the channel allows. None was
 *   sent.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and messages may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_client_send_batch_timeout(struct ClientHandle *handle,
                                               const struct shm_message_t *messages,
                                               uint32_t count,
                                               uint32_t *sent,
                                               uint32_t timeout_ms);

/**
 * Waits for a message of the server, and takes it together with all further messages that are there and have room.
 * The messages lie in the buffer one after the other.
 *
 * \ingroup batches
 * \param handle The client.
 * \param[out] buffer Gets the bytes of the messages.
 * \param size The size of `buffer` in bytes. 0: the call fails with SHM_ERROR_INVALID_PARAM.
 * \param[out] messages Gets the address in `buffer` and the size of each message.
 * \param[in,out] count Before the call the number of elements of `messages`, at least 1; after it the number of
 *   messages. 0 after a failure.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS At least one message was received.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL The first message alone is longer than the buffer, and stays in the queue. This
 *   cannot happen with a buffer of the channel's longest message.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_READY The time passed while the server overwrote messages faster than the call could take
 *   one.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_client_receive_batch(struct ClientHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * Reserves room for a message to the server in shared memory. The caller writes the message there, and sends it by
 * shm_client_commit. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
 * number.
 *
 * Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is
 * sent ends the reservation. The server can write the memory too: do not trust what you read back from there. The
 * address is valid until the commit, the next reservation, or the end of the handle. It stays valid when the session
 * ends, and never refers to another session.
 *
 * \ingroup in_place
 * \param handle The client.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_client_reserve(struct ClientHandle *handle, uint32_t size, void **data);

/**
 * Reserves room for a message to the server if there is room. Evicts nothing. In all else it is the same as
 * shm_client_reserve.
 *
 * \ingroup in_place
 * \param handle The client.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_client_try_reserve(struct ClientHandle *handle, uint32_t size, void **data);

/**
 * Reserves room for a message to the server, and waits for room if there is none. Evicts nothing. In all else it is
 * the same as shm_client_reserve.
 *
 * \ingroup in_place
 * \param handle The client.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] data Gets the address for the message, aligned to 8 bytes. NULL after a failure.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time: no other thread may send between the reservation and the commit. Another thread may
 * receive.
 */
enum shm_error_t shm_client_reserve_timeout(struct ClientHandle *handle,
                                            uint32_t size,
                                            void **data,
                                            uint32_t timeout_ms);

/**
 * Sends the message that the caller has written to the memory from shm_client_reserve.
 *
 * \ingroup in_place
 * \param handle The client.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_INVALID_PARAM Nothing is reserved, or another message was sent since, or the session of the
 *   reservation is over.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over, and the message may have been sent.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * The thread that reserves: see shm_client_reserve.
 */
enum shm_error_t shm_client_commit(struct ClientHandle *handle);

/**
 * Waits for a message of the server, and stores its address in shared memory; it makes no copy. The message stays in
 * the queue until shm_client_release, and the server does not overwrite it. It works only if the server's options
 * reject when full.
 *
 * Use it only with trusted peers: a peer that breaks the rules can change the message while it is read. The address
 * is valid until the release, the next call of shm_client_borrow, or the end of the handle. It stays valid when the
 * session ends, and never refers to another session.
 *
 * \ingroup in_place
 * \param handle The client.
 * \param[out] data Gets the address of the message. NULL after a failure.
 * \param[out] size Gets the size of the message in bytes. 0 after a failure.
 * \param timeout_ms How long to wait for a message, in milliseconds. SHM_FOREVER: without a limit. 0: the call
 *   checks once.
 * \retval SHM_SUCCESS `*data` is the address.
 * \retval SHM_ERROR_INVALID_PARAM The channel evicts: the server's options do not reject when full.
 * \retval SHM_ERROR_TIMEOUT No message came in time.
 * \retval SHM_ERROR_EMPTY `timeout_ms` is 0, and there is no message.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left, and all its messages were received.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting, and all its messages were received.
 * \retval SHM_ERROR_INTERRUPTED shm_client_interrupt, or stopping the handle, ended the call.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \par Threads
 * One thread at a time receives or borrows. Another thread may send.
 */
enum shm_error_t shm_client_borrow(struct ClientHandle *handle, const void **data, uint32_t *size, uint32_t timeout_ms);

/**
 * Takes the message from shm_client_borrow out of the queue. Its address must not be used afterwards.
 *
 * \ingroup in_place
 * \param handle The client.
 * \retval SHM_SUCCESS The message is out of the queue.
 * \retval SHM_ERROR_INVALID_PARAM Nothing is borrowed, or the message was received since, or its session has ended
 *   and another session has begun.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * The thread that borrows: see shm_client_borrow.
 */
enum shm_error_t shm_client_release(struct ClientHandle *handle);

/**
 * Returns the slot that a server for many clients has given this client.
 *
 * \ingroup client
 * \param handle The client.
 * \return The slot. SHM_NO_CLIENT: the server serves one client, or the call failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_client_slot_id(const struct ClientHandle *handle);

/**
 * Stores the objects that an event loop waits for, to receive from the server. Each session has its own objects.
 * They may outlive the session, and get no more signals then.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \retval SHM_SUCCESS The objects were stored.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_wait_handles(const struct ClientHandle *handle, struct shm_wait_handles_t *out);

/**
 * Asks the server to signal its next message, so that an event loop can wait for the signal. Then wait until one of
 * the objects of shm_client_wait_handles is ready, call shm_client_disarm, and receive. The objects may become ready
 * without a message. examples/c/event_loop.c is a whole loop.
 *
 * When shm_wait_handles_t.peer becomes ready, call shm_client_is_connected, which records that the server has died.
 * The messages that it sent before can still be received.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \param[out] is_ready true: do not wait, but receive by shm_client_try_receive until it returns SHM_ERROR_EMPTY,
 *   because a message is there or the session is over. false: wait. false after a failure.
 * \retval SHM_SUCCESS `*is_ready` says whether to wait.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * One thread at a time receives or arms. Another thread may send.
 */
enum shm_error_t shm_client_arm(struct ClientHandle *handle, bool *is_ready);

/**
 * Withdraws the request of shm_client_arm, and resets the signal if it has come.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \retval SHM_SUCCESS The request is withdrawn.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * One thread at a time receives or arms. Another thread may send.
 */
enum shm_error_t shm_client_disarm(struct ClientHandle *handle);

/**
 * Stores the objects that an event loop waits for until there is room to send to the server. Each session has its own
 * objects. They may outlive the session, and get no more signals then.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \retval SHM_SUCCESS The objects were stored.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_room_handles(const struct ClientHandle *handle, struct shm_wait_handles_t *out);

/**
 * Asks the server to signal when it next takes a message, so that an event loop can wait for room. Then wait until one
 * of the objects of shm_client_room_handles is ready, call shm_client_disarm_room, and send. There may still be too little
 * room then: arm again.
 *
 * When shm_wait_handles_t.peer becomes ready, call shm_client_is_connected, which records that the server has died.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \param size The size of the message that is to be sent, in bytes: 2 to 65,535.
 * \param[out] is_ready true: do not wait, but send by shm_client_try_send, because there is room for such a message or
 *   the session is over. false: wait. false after a failure.
 * \retval SHM_SUCCESS `*is_ready` says whether to wait.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL `size` is less than 2.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE `size` is more than 65,535, or more than the ring allows.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * One thread at a time sends or arms for room. Another thread may receive.
 */
enum shm_error_t shm_client_arm_room(struct ClientHandle *handle,
                                     uint32_t size,
                                     bool *is_ready);

/**
 * Withdraws the request of shm_client_arm_room, and resets the signal if it has come.
 *
 * \ingroup event_loops
 * \param handle The client.
 * \retval SHM_SUCCESS The request is withdrawn.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * One thread at a time sends or arms for room. Another thread may receive.
 */
enum shm_error_t shm_client_disarm_room(struct ClientHandle *handle);

/**
 * Leaves the server and frees the handle. The server still receives what the client sent.
 *
 * Calls of other threads return first, with SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of
 * on_disconnect. Those threads cannot tell from the code that the handle is gone. So end them before this call (by a
 * flag of the program, shm_client_interrupt, and a join).
 *
 * This function calls no callback, and no callback begins after it has returned: the program may then free
 * user_data. From inside a callback of this handle it waits only for the calls of other threads. That callback is
 * the last, and the handle is freed when the call around that callback returns. From a callback of another handle it
 * also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
 * returns while the callback of this handle still runs.
 *
 * \ingroup client
 * \param handle The client, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_client_disconnect(struct ClientHandle *handle);

/**
 * Closes the objects that shm_server_wait_handles or another function has stored.
 *
 * \ingroup event_loops
 * \param[in,out] handles The objects, which the program must not have closed. Both fields become -1. NULL, and
 *   fields that are -1, do nothing.
 * \par Threads
 * Any thread, while no other thread uses the structure.
 */
void shm_wait_handles_close(struct shm_wait_handles_t *handles);

/**
 * Begins to connect to the server that has the name, for an event loop: no call on the handle waits. The server may
 * serve one client or many, and need not exist yet.
 *
 * Call shm_pending_connect_try_finish. As long as it returns no client, wait until one of the objects of
 * shm_pending_connect_wait_handles is ready, and call it again. The connect has no time limit of its own: to end it,
 * call shm_pending_connect_free, or shm_pending_connect_give_up, which returns why it is not finished.
 * examples/c/event_loop.c is a whole loop.
 *
 * \ingroup event_loops
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks of the client, which the library copies. They begin when the connect succeeds. NULL:
 *   none.
 * \param options The options. NULL: the defaults. shm_options_t.interrupter has no effect on this connect.
 * \return The handle, which the caller owns and frees by shm_pending_connect_free. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct PendingConnectHandle *shm_client_begin_connect(const struct shm_endpoint_config_t *config,
                                                      const struct shm_callbacks_t *callbacks,
                                                      const struct shm_options_t *options);

/**
 * Goes on with a connect as far as it can without waiting. If the server does not exist yet, or does not accept yet,
 * that is no failure. After a failure the connect has ended.
 *
 * The callbacks of the client run as in shm_client_connect: on_start and on_connect run in the call that returns the
 * client. They may free the pending connect.
 *
 * \ingroup event_loops
 * \param pending The connect.
 * \param[out] client Gets the client, which the caller owns and frees by shm_client_disconnect. NULL: the connect
 *   needs more time, or the call failed.
 * \retval SHM_SUCCESS `*client` is the client, or NULL.
 * \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_NOT_READY The connect has ended before: a call has returned the client, or has failed, or
 *   shm_pending_connect_give_up was called.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_pending_connect_try_finish(struct PendingConnectHandle *pending, struct ClientHandle **client);

/**
 * Stores the objects that an event loop waits for until the connect can go on, and how long to wait at most. They are
 * valid until the next call of shm_pending_connect_try_finish: ask for them again after each call.
 *
 * On Linux, shm_wait_handles_t.data is an epoll descriptor that stays the same file for the whole connect.
 *
 * \ingroup event_loops
 * \param pending The connect.
 * \param[out] out Gets the objects. The caller owns them, and closes them by shm_wait_handles_close. Both fields are
 *   -1 after a failure.
 * \param[out] next_look_ms Gets the time in milliseconds after which to call shm_pending_connect_try_finish although
 *   no object is ready. SHM_FOREVER: there is no such time. 0 after a failure.
 * \retval SHM_SUCCESS The objects and the time were stored.
 * \retval SHM_ERROR_NOT_READY The connect has ended before.
 * \retval SHM_ERROR_SYSTEM The process can have no more handles.
 * \par Threads
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_pending_connect_wait_handles(struct PendingConnectHandle *pending,
                                                  struct shm_wait_handles_t *out,
                                                  uint32_t *next_look_ms);

/**
 * Ends a connect, and returns why it is not finished. This withdraws the request; if the server has accepted it
 * meanwhile, the client leaves. The handle must still be freed.
 *
 * \ingroup event_loops
 * \param pending The connect.
 * \return The code of a connect whose time is over; shm_last_error_message has the details. Never SHM_SUCCESS.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server has not accepted. shm_last_error_message says which.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_NOT_READY The connect has ended before.
 * \par Threads
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_pending_connect_give_up(struct PendingConnectHandle *pending);

/**
 * Ends a connect if it has not ended, as shm_pending_connect_give_up does, and frees the handle. A client that the
 * connect has returned stays connected.
 *
 * \ingroup event_loops
 * \param pending The connect, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback. Calls of other threads on the handle return first.
 */
void shm_pending_connect_free(struct PendingConnectHandle *pending);

/**
 * Connects to a server, to call it. It connects as shm_client_connect_with_options does, to a server for one client
 * or for many.
 *
 * \ingroup calls
 * \param config The name and the size of the rings.
 * \param options The options. NULL: the defaults.
 * \param timeout_ms How long to wait in all, in milliseconds. SHM_FOREVER: without a limit. On Linux, 0 rarely
 *   succeeds.
 * \return The handle, which the caller owns and frees by shm_caller_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
 *   says which.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_NO_SLOT The server serves many clients, and each slot has one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The interrupter of the options ended the call.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct CallerHandle *shm_caller_connect(const struct shm_endpoint_config_t *config,
                                        const struct shm_options_t *options,
                                        uint32_t timeout_ms);

/**
 * Calls the server, and waits for the answer. If the server's queue is full, the call waits for room. After a
 * failure the server may have got the call, and may have done what it asks for.
 *
 * \ingroup calls
 * \param handle The caller.
 * \param data What to send. The library copies it during the call. May be NULL if `size` is 0.
 * \param size The number of bytes to send: 0 to SHM_MAX_CALL, or to the server's shm_options_t.max_message_bytes minus 16.
 * \param[out] buffer Gets the answer. A buffer of SHM_MAX_CALL bytes is long enough, unless the server has set
 *   shm_options_t.max_message_bytes. May be NULL if `*answer_size` is 0.
 * \param[in,out] answer_size Before the call the size of `buffer` in bytes, after it the size of the answer. 0 after
 *   other failures than SHM_ERROR_BUFFER_TOO_SMALL.
 * \param timeout_ms How long to wait, in milliseconds. SHM_FOREVER: without a limit.
 * \retval SHM_SUCCESS `buffer` has the answer.
 * \retval SHM_ERROR_TIMEOUT No answer came in time. If it comes later, it is dropped and counted.
 * \retval SHM_ERROR_NO_ANSWER The server has dropped the call. Or the call has no limit, and messages were evicted
 *   that may have been its answer.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*answer_size` is the size of the answer, and `buffer` has its beginning.
 *   shm_caller_last_answer gets the whole.
 * \retval SHM_ERROR_NOT_CONNECTED The server has left. Connect another caller.
 * \retval SHM_ERROR_PEER_DIED The server's process ended without disconnecting. Connect another caller.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE There are more bytes to send than the channel allows.
 * \retval SHM_ERROR_INTERRUPTED shm_caller_interrupt, or shm_caller_disconnect, ended the call.
 * \retval SHM_ERROR_PROTOCOL The server broke the protocol. The session is over.
 * \par Threads
 * Any thread. Any number of threads may call at the same time.
 */
enum shm_error_t shm_caller_call(struct CallerHandle *handle,
                                 const void *data,
                                 uint32_t size,
                                 void *buffer,
                                 uint32_t *answer_size,
                                 uint32_t timeout_ms);

/**
 * Gets the answer for which the buffer of this thread's last call (shm_caller_call) was too small. It is kept until
 * this function succeeds, or until the thread's next shm_caller_call.
 *
 * \ingroup calls
 * \param[out] buffer Gets the answer. May be NULL if `*answer_size` is 0.
 * \param[in,out] answer_size Before the call the size of `buffer` in bytes, after it the size of the answer. 0 after
 *   other failures than SHM_ERROR_BUFFER_TOO_SMALL.
 * \retval SHM_SUCCESS `buffer` has the answer.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL `*answer_size` is the size of the answer, and `buffer` has its beginning.
 * \retval SHM_ERROR_INVALID_PARAM There is no such answer.
 * \par Threads
 * The thread that called.
 */
enum shm_error_t shm_caller_last_answer(void *buffer, uint32_t *answer_size);

/**
 * Stores what the caller has done so far. Waits for no other call.
 *
 * \ingroup calls
 * \param handle The caller.
 * \param[out] out Gets the counts. Zeros after a failure.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_caller_stats(const struct CallerHandle *handle, struct shm_caller_stats_t *out);

/**
 * Returns whether the server is connected. Asks the system whether the server's process still runs.
 *
 * \ingroup calls
 * \param handle The caller.
 * \return true: the server is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_caller_is_connected(const struct CallerHandle *handle);

/**
 * Returns the slot that a server for many clients has given this caller.
 *
 * \ingroup calls
 * \param handle The caller.
 * \return The slot. SHM_NO_CLIENT: the server serves one client, or the call failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_caller_slot_id(const struct CallerHandle *handle);

/**
 * Makes calls that wait return SHM_ERROR_INTERRUPTED, now and later, until shm_caller_resume.
 *
 * \ingroup calls
 * \param handle The caller.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_caller_interrupt(const struct CallerHandle *handle);

/**
 * Ends the effect of shm_caller_interrupt: calls may wait again.
 *
 * \ingroup calls
 * \param handle The caller.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_caller_resume(const struct CallerHandle *handle);

/**
 * Leaves the server and frees the handle. Calls of other threads return first, with SHM_ERROR_INTERRUPTED.
 *
 * \ingroup calls
 * \param handle The caller, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread.
 */
void shm_caller_disconnect(struct CallerHandle *handle);

/**
 * Returns the default options of an auto endpoint.
 *
 * \ingroup auto
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
struct shm_auto_options_t shm_auto_options_default(void);

/**
 * Starts a server that works in the background. It accepts clients, one after the other, and passes their messages
 * to on_message. All of this happens on its own worker thread. Returns at once.
 *
 * \ingroup auto_server
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the endpoint works in the background. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_server_stop_auto. NULL: the call failed; shm_last_error
 *   returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct AutoServerHandle *shm_server_start_auto(const struct shm_endpoint_config_t *config,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_auto_options_t *options);

/**
 * Starts a server that works in the background, with options of the channel. In all else it is the same as
 * shm_server_start_auto.
 *
 * \ingroup auto_server
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the endpoint works in the background. NULL: the defaults.
 * \param channel_options The options of the channel. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_server_stop_auto. NULL: the call failed; shm_last_error
 *   returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct AutoServerHandle *shm_server_start_auto_with_options(const struct shm_endpoint_config_t *config,
                                                            const struct shm_callbacks_t *callbacks,
                                                            const struct shm_auto_options_t *options,
                                                            const struct shm_options_t *channel_options);

/**
 * Sends a message to the client. Never waits. With a connection the message goes into the ring at once, and evicts
 * the oldest messages if there is no room. Without a connection it waits in the send queue. on_overflow reports lost
 * messages.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
 *   the client has left, and on_disconnect has not returned.
 * \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_send_auto(struct AutoServerHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the client if the ring or the send queue has room. Evicts and drops nothing.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_FULL Neither the ring nor the queue has room. on_space_available is called when there is room
 *   again.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
 *   the client has left, and on_disconnect has not returned.
 * \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_try_send_auto(struct AutoServerHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the client, and waits for room if there is none. Evicts and drops nothing. It also waits inside
 * a callback of this handle: the client must then make the room without an answer from this endpoint meanwhile.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL There is no room, and `timeout_ms` is 0. Or the queue has no room, there is no connection,
 *   and the call is inside a callback.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped. Or there is no connection, and max_send_queue is 0. Or
 *   the client has left, and on_disconnect has not returned.
 * \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_send_timeout_auto(struct AutoServerHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * Stores the endpoint's statistics.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param[out] out Gets the statistics. Zeros after a failure.
 * \return true: the statistics were stored. false: the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_server_stats_auto(const struct AutoServerHandle *handle, struct shm_auto_stats_t *out);

/**
 * Stops the endpoint and frees the handle. It delivers the messages that have arrived, sends queued messages as far
 * as they fit, ends the connection, and waits for the worker's end.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From
 * inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
 * callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
 * callback of this handle waits for the end of that other handle, this function returns while the callback of this
 * handle still runs.
 *
 * \ingroup auto_server
 * \param handle The server, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_server_stop_auto(struct AutoServerHandle *handle);

/**
 * Returns the number of the present session, which stands for its client and for no later client.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \return The number. 0: there is no session, or the call failed.
 * \par Threads
 * Any thread.
 */
uint64_t shm_server_session_auto(const struct AutoServerHandle *handle);

/**
 * Sends a message to the client of one session only. Use it for an answer that takes longer than a callback. In all
 * else it is the same as shm_server_send_auto.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param session The session, from shm_server_session_auto.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over, or the endpoint was stopped.
 * \retval SHM_ERROR_PEER_DIED The client's process has ended, and on_disconnect has not returned.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol, and on_disconnect has not returned.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_send_to_session_auto(struct AutoServerHandle *handle,
                                                 uint64_t session,
                                                 const void *data,
                                                 uint32_t size);

/**
 * Answers a call of a client. Never waits: if the client's queue is full, the answer evicts the oldest messages.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \param data The answer. The library copies it during the call. May be NULL if `size` is 0.
 * \param size The size of the answer in bytes: 0 to SHM_MAX_CALL.
 * \retval SHM_SUCCESS The answer is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The answer has more than SHM_MAX_CALL bytes, or more than the ring allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_answer_auto(struct AutoServerHandle *handle,
                                        struct shm_call_t call,
                                        const void *data,
                                        uint32_t size);

/**
 * Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
 * shm_server_answer_auto.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \retval SHM_SUCCESS The refusal is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_refuse_auto(struct AutoServerHandle *handle, struct shm_call_t call);

/**
 * Returns whether the client is connected, as far as the worker knows.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \return true: the client is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_server_is_connected_auto(const struct AutoServerHandle *handle);

/**
 * Stores the process id and the user of the client of the present session, as shm_server_peer does.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The client was stored. It may have left since.
 * \retval SHM_ERROR_NOT_CONNECTED There is no session.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_server_peer_auto(const struct AutoServerHandle *handle,
                                      uint32_t *process_id,
                                      char *user,
                                      uint32_t user_size);

/**
 * Returns whether the server is connected, as far as the worker knows.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \return true: the server is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_client_is_connected_auto(const struct AutoClientHandle *handle);

/**
 * Stores the process id and the user of the server of the present session, as shm_client_peer does.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The server was stored. It may have left since.
 * \retval SHM_ERROR_NOT_CONNECTED There is no session.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_client_peer_auto(const struct AutoClientHandle *handle,
                                      uint32_t *process_id,
                                      char *user,
                                      uint32_t user_size);

/**
 * Begins to stop the endpoint, and returns without waiting. The endpoint delivers the messages that have arrived,
 * and on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
 * thread can then free it by shm_server_stop_auto.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_request_stop_auto(struct AutoServerHandle *handle);

/**
 * Stops the endpoint and frees the handle, as shm_server_stop_auto does, but limits the wait.
 *
 * \ingroup auto_server
 * \param handle The server.
 * \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
 * \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
 *   the handle.
 * \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
 * \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_server_stop_auto.
 * \retval SHM_ERROR_FORKED This process is a fork. The function has released the fork's hold on the name.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_server_stop_timeout_auto(struct AutoServerHandle *handle, uint32_t timeout_ms);

/**
 * Connects in the background, and connects again whenever the connection is lost. The client passes the server's
 * messages to on_message. All of this happens on its own worker thread. Returns at once; on_connect runs when there
 * is a connection.
 *
 * \ingroup auto_client
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the endpoint works in the background. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_client_disconnect_auto. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct AutoClientHandle *shm_client_connect_auto(const struct shm_endpoint_config_t *config,
                                                 const struct shm_callbacks_t *callbacks,
                                                 const struct shm_auto_options_t *options);

/**
 * Connects in the background, and connects again whenever the connection is lost. It does so with options of the
 * channel. In all else it is the same as shm_client_connect_auto.
 *
 * \ingroup auto_client
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the endpoint works in the background. NULL: the defaults.
 * \param channel_options The options of the channel. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_client_disconnect_auto. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct AutoClientHandle *shm_client_connect_auto_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_callbacks_t *callbacks,
                                                              const struct shm_auto_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * Sends a message to the server. Never waits. With a connection the message goes into the ring at once, and evicts
 * the oldest messages if there is no room. Without a connection it waits in the send queue. on_overflow reports lost
 * messages.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL The ring has no room, and the server's options reject when full.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_client_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server if the ring or the send queue has room. Evicts and drops nothing.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_FULL Neither the ring nor the queue has room. on_space_available is called when there is room
 *   again.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_client_try_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server, and waits for room if there is none. Evicts and drops nothing. It also waits inside
 * a callback of this handle: the server must then make the room without an answer from this endpoint meanwhile.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the ring or in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL There is no room, and `timeout_ms` is 0. Or the queue has no room, there is no connection,
 *   and the call is inside a callback.
 * \retval SHM_ERROR_NOT_CONNECTED The endpoint was stopped, or there is no connection and max_send_queue is 0.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_client_send_timeout_auto(struct AutoClientHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * Stores the endpoint's statistics.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param[out] out Gets the statistics. Zeros after a failure.
 * \return true: the statistics were stored. false: the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_client_stats_auto(const struct AutoClientHandle *handle, struct shm_auto_stats_t *out);

/**
 * Stops the endpoint and frees the handle. It delivers the messages that have arrived, sends queued messages as far
 * as they fit, ends the connection, and waits for the worker's end.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From
 * inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
 * callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
 * callback of this handle waits for the end of that other handle, this function returns while the callback of this
 * handle still runs.
 *
 * \ingroup auto_client
 * \param handle The client, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_client_disconnect_auto(struct AutoClientHandle *handle);

/**
 * Begins to stop the endpoint, and returns without waiting. The endpoint delivers the messages that have arrived,
 * and on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
 * thread can then free it by shm_client_disconnect_auto.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_client_request_disconnect_auto(struct AutoClientHandle *handle);

/**
 * Stops the endpoint and frees the handle, as shm_client_disconnect_auto does, but limits the wait.
 *
 * \ingroup auto_client
 * \param handle The client.
 * \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
 * \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
 *   the handle.
 * \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
 * \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_client_disconnect_auto.
 * \retval SHM_ERROR_FORKED This process is a fork. The function does nothing there.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_client_disconnect_timeout_auto(struct AutoClientHandle *handle, uint32_t timeout_ms);

/**
 * Returns the default options of a server for many clients.
 *
 * \ingroup multi_server
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
struct shm_multi_options_t shm_multi_options_default(void);

/**
 * Returns a structure without callbacks, for a server for many clients.
 *
 * \ingroup multi_server
 * \return The structure, with `struct_size` set. All callbacks are NULL.
 * \par Threads
 * Any thread.
 */
struct shm_multi_callbacks_t shm_multi_callbacks_default(void);

/**
 * Starts a server for many clients under a name. It works on its own threads.
 *
 * \ingroup multi_server
 * \param name The name, as in shm_endpoint_config_t.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the server behaves. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_multi_server_stop. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value; for instance, max_clients is 0.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct MultiServerHandle *shm_multi_server_start(const char *name,
                                                 const struct shm_multi_callbacks_t *callbacks,
                                                 const struct shm_multi_options_t *options);

/**
 * Starts a server for many clients, with the size of each client's rings and options of each client's channel. In
 * all else it is the same as shm_multi_server_start.
 *
 * \ingroup multi_server
 * \param config The name, and the size of each client's rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the server behaves. NULL: the defaults.
 * \param channel_options The options of each client's channel. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_multi_server_stop. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value; for instance, max_clients is 0.
 * \retval SHM_ERROR_EXISTS A running server, or something else, has the name.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_ACCESS A privilege is missing, for a name that begins with "Global\\".
 * \retval SHM_ERROR_REFUSED Windows lets no client find a server of this process, which runs below medium integrity
 *   or in an AppContainer; or this thread impersonates another user.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct MultiServerHandle *shm_multi_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_multi_callbacks_t *callbacks,
                                                              const struct shm_multi_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * Sends a message to the client of a slot. Never waits: a full queue evicts its oldest messages, and on_overflow is
 * called with their number.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_NOT_FOUND The slot has no client.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_send_to(struct MultiServerHandle *handle,
                                          uint32_t client_id,
                                          const void *data,
                                          uint32_t size);

/**
 * Sends a message to the client of a slot if there is room. Evicts nothing.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
 *   room again.
 * \retval SHM_ERROR_NOT_FOUND The slot has no client.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_try_send_to(struct MultiServerHandle *handle,
                                              uint32_t client_id,
                                              const void *data,
                                              uint32_t size);

/**
 * Sends a message to the client of a slot, and waits for room if there is none. Evicts nothing. It also waits inside
 * a callback: the worker of that callback serves no other client meanwhile.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_NOT_FOUND The slot has no client.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over, also if it ended while the call waited: no later client of
 *   the slot gets the message.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_send_to_timeout(struct MultiServerHandle *handle,
                                                  uint32_t client_id,
                                                  const void *data,
                                                  uint32_t size,
                                                  uint32_t timeout_ms);

/**
 * Sends a message to every client, as shm_multi_server_send_to does: a full queue evicts its oldest messages. A
 * failure for one client does not affect the others.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] sent Gets the number of clients that got the message. 0 after a failure. May be NULL.
 * \retval SHM_SUCCESS The message was sent to the clients that could get it.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_broadcast(struct MultiServerHandle *handle,
                                            const void *data,
                                            uint32_t size,
                                            uint32_t *sent);

/**
 * Sends a message to every client, as shm_multi_server_broadcast does, and stores the outcome for each client, in
 * the order of the slots.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param[out] results Gets the outcomes. May be NULL if `max` is 0.
 * \param max The number of elements of `results`.
 * \param[out] actual Gets the number of clients, which may be greater than `max`. May be NULL.
 * \retval SHM_SUCCESS The message was sent, and all outcomes were stored.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL There were more than `max` clients. The message was sent all the same, and the
 *   first `max` outcomes were stored.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_broadcast_each(struct MultiServerHandle *handle,
                                                 const void *data,
                                                 uint32_t size,
                                                 struct shm_broadcast_result_t *results,
                                                 uint32_t max,
                                                 uint32_t *actual);

/**
 * Returns the session number of the client that has a slot. It stands for that client and for no later client.
 * Inside a callback for a slot, including on_client_disconnect, it is that client's session.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \return The number. 0: the slot has no client, or the call failed.
 * \par Threads
 * Any thread.
 */
uint64_t shm_multi_server_session(const struct MultiServerHandle *handle, uint32_t client_id);

/**
 * Sends a message to the client of one session only, as shm_multi_server_send_to does. Use it for an answer that
 * takes longer than a callback, so that the answer reaches no other client.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_send_to_session(struct MultiServerHandle *handle,
                                                  uint64_t session,
                                                  const void *data,
                                                  uint32_t size);

/**
 * Sends a message to the client of one session only, if there is room. Evicts nothing.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
 *   room again.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_try_send_to_session(struct MultiServerHandle *handle,
                                                      uint64_t session,
                                                      const void *data,
                                                      uint32_t size);

/**
 * Sends a message to the client of one session only, and waits for room if there is none. Evicts nothing. It also
 * waits inside a callback: the worker of that callback serves no other client meanwhile.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_send_to_session_timeout(struct MultiServerHandle *handle,
                                                          uint64_t session,
                                                          const void *data,
                                                          uint32_t size,
                                                          uint32_t timeout_ms);

/**
 * Answers a call of a client. Never waits: if the client's queue is full, the answer evicts the oldest messages.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \param data The answer. The library copies it during the call. May be NULL if `size` is 0.
 * \param size The size of the answer in bytes: 0 to SHM_MAX_CALL.
 * \retval SHM_SUCCESS The answer is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The answer has more than SHM_MAX_CALL bytes, or more than the ring allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_server_answer(struct MultiServerHandle *handle,
                                         struct shm_call_t call,
                                         const void *data,
                                         uint32_t size);

/**
 * Ends a call without an answer. Its caller gets SHM_ERROR_NO_ANSWER. In all else it is the same as
 * shm_multi_server_answer.
 *
 * \ingroup calls
 * \param handle The server.
 * \param call The call.
 * \retval SHM_SUCCESS The refusal is on its way.
 * \retval SHM_ERROR_NOT_CONNECTED The session of the call is over. No other client gets the answer.
 * \retval SHM_ERROR_PEER_DIED The client's process ended without disconnecting.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_server_refuse(struct MultiServerHandle *handle, struct shm_call_t call);

/**
 * Stores the process id and the user of the client of a session, as shm_server_peer does.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The client was stored. It may have left since.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_server_peer(const struct MultiServerHandle *handle,
                                       uint64_t session,
                                       uint32_t *process_id,
                                       char *user,
                                       uint32_t user_size);

/**
 * Stores the counts of a client's session. Waits for no other call.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \param[out] out Gets the counts. Zeros after a failure.
 * \retval SHM_SUCCESS The counts were stored.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \retval SHM_ERROR_PROTOCOL The client broke the protocol. The session is over.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_server_stats(const struct MultiServerHandle *handle,
                                        uint64_t session,
                                        struct shm_client_stats_t *out);

/**
 * Ends one session, and no later session of its slot. The client first receives the messages sent to it, and
 * on_message receives the messages that the client has sent.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param session The session, from shm_multi_server_session.
 * \retval SHM_SUCCESS The session ends.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_disconnect_session(struct MultiServerHandle *handle, uint64_t session);

/**
 * Ends the session of the client that has a slot. The client first receives the messages sent to it, and on_message
 * receives the messages that the client has sent.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \retval SHM_SUCCESS The session ends.
 * \retval SHM_ERROR_NOT_FOUND The slot has no client.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_disconnect_client(struct MultiServerHandle *handle, uint32_t client_id);

/**
 * Returns the number of clients that are connected.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \return The number. 0: there is no client, or the call failed.
 * \par Threads
 * Any thread.
 */
uint32_t shm_multi_server_client_count(const struct MultiServerHandle *handle);

/**
 * Returns whether a slot has a client.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param client_id The client's slot.
 * \return true: the slot has a client. false: it has none, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_multi_server_is_client_connected(const struct MultiServerHandle *handle, uint32_t client_id);

/**
 * Stores the slots that have a client, in order.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param[out] ids Gets the slots. May be NULL if `max` is 0.
 * \param max The number of elements of `ids`.
 * \param[out] actual Gets the number of slots with a client, which may be greater than `max`. May be NULL.
 * \retval SHM_SUCCESS All slots with a client were stored.
 * \retval SHM_ERROR_BUFFER_TOO_SMALL There are more than `max` slots with a client, and the first `max` were stored.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_server_get_clients(const struct MultiServerHandle *handle,
                                              uint32_t *ids,
                                              uint32_t max,
                                              uint32_t *actual);

/**
 * Copies a name of a slot's channel, for use in a log.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param slot The slot.
 * \param[out] buffer Gets the name and a NUL, truncated to the buffer. Empty after a failure. May be NULL.
 * \param size The size of `buffer` in bytes, including the NUL.
 * \return The length of the whole name in bytes, without the NUL. 0: the call failed, with SHM_ERROR_NOT_FOUND if
 *   there is no such slot, and with SHM_ERROR_NOT_READY before the function that starts the server has returned.
 * \par Threads
 * Any thread.
 */
uint32_t shm_multi_server_channel_name(const struct MultiServerHandle *handle,
                                       uint32_t slot,
                                       char *buffer,
                                       uint32_t size);

/**
 * Stops the server and frees the handle. It delivers the messages that have arrived, ends all sessions, and waits
 * for the server's threads.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From
 * inside a callback of this handle it waits only for the callbacks that other threads of the server are in. That
 * callback is the last; the threads end after it, and the handle is then freed. From a callback of another handle it
 * also waits, with one exception: if a callback of this handle waits for the end of that other handle, this function
 * returns while the callback of this handle still runs.
 *
 * \ingroup multi_server
 * \param handle The server, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_multi_server_stop(struct MultiServerHandle *handle);

/**
 * Begins to stop the server, and returns without waiting. The server delivers the messages that have arrived, and
 * on_client_disconnect runs last. A callback can stop its own handle in this way, and another thread can then free
 * it by shm_multi_server_stop.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_request_stop(struct MultiServerHandle *handle);

/**
 * Stops the server and frees the handle, as shm_multi_server_stop does, but limits the wait.
 *
 * \ingroup multi_server
 * \param handle The server.
 * \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
 * \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
 *   the handle.
 * \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
 * \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_multi_server_stop.
 * \retval SHM_ERROR_FORKED This process is a fork. The function has released the fork's hold on the name.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_server_stop_timeout(struct MultiServerHandle *handle, uint32_t timeout_ms);

/**
 * Returns the default options of a client of a server for many clients.
 *
 * \ingroup multi_client
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
struct shm_multi_client_options_t shm_multi_client_options_default(void);

/**
 * Returns a structure without callbacks, for a client of a server for many clients.
 *
 * \ingroup multi_client
 * \return The structure, with `struct_size` set. All callbacks are NULL.
 * \par Threads
 * Any thread.
 */
struct shm_multi_client_callbacks_t shm_multi_client_callbacks_default(void);

/**
 * Connects to a server for many clients, and returns when the server has given the client a slot. From then on the
 * client works on its own thread. It connects again if its options say so.
 *
 * \ingroup multi_client
 * \param name The name, as in shm_endpoint_config_t.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the client behaves. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_multi_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
 *   says which.
 * \retval SHM_ERROR_NO_SLOT Each slot has a client.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The client was stopped in on_start.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct MultiClientHandle *shm_multi_client_connect(const char *name,
                                                   const struct shm_multi_client_callbacks_t *callbacks,
                                                   const struct shm_multi_client_options_t *options);

/**
 * Connects to a server for many clients, with a required size of the rings and options of the channel. In all else
 * it is the same as shm_multi_client_connect.
 *
 * \ingroup multi_client
 * \param config The name and the size of the rings.
 * \param callbacks The callbacks, which the library copies. NULL: none.
 * \param options How the client behaves. NULL: the defaults.
 * \param channel_options The options of the channel. NULL: the defaults.
 * \return The handle, which the caller owns and frees by shm_multi_client_disconnect. NULL: the call failed;
 *   shm_last_error returns one of the following codes.
 * \retval SHM_ERROR_TIMEOUT No server has the name, or the server did not accept in time. shm_last_error_message
 *   says which.
 * \retval SHM_ERROR_NO_SLOT Each slot has a client.
 * \retval SHM_ERROR_ALREADY_CONNECTED The server has another client, or has not yet looked for the next one.
 * \retval SHM_ERROR_REFUSED One side refuses to connect to the other. shm_last_error_message says why.
 * \retval SHM_ERROR_INCOMPATIBLE The server has an incompatible version, or other sizes than requested.
 * \retval SHM_ERROR_INTERRUPTED The interrupter of the channel options ended the call, or the client was stopped in
 *   on_start.
 * \retval SHM_ERROR_INVALID_PARAM An option has an invalid value.
 * \retval SHM_ERROR_INVALID_NAME The name is invalid.
 * \retval SHM_ERROR_MEMORY The system has not enough memory.
 * \retval SHM_ERROR_SYSTEM A call of the operating system failed.
 * \par Threads
 * Any thread.
 */
struct MultiClientHandle *shm_multi_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                                const struct shm_multi_client_callbacks_t *callbacks,
                                                                const struct shm_multi_client_options_t *options,
                                                                const struct shm_options_t *channel_options);

/**
 * Sends a message to the server. Never waits: a full queue evicts its oldest messages, and on_overflow is called
 * with their number.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \retval SHM_ERROR_FULL There is no room, and the server's options reject when full. The queue is unchanged.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_client_send(struct MultiClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server if there is room. Evicts nothing.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_FULL There is no room. The queue is unchanged, and on_space_available is called when there is
 *   room again.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_client_try_send(struct MultiClientHandle *handle, const void *data, uint32_t size);

/**
 * Sends a message to the server, and waits for room if there is none. Evicts nothing. It also waits inside a
 * callback of this handle: the server must then make the room without an answer from this client meanwhile.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param data The message. The library copies it during the call.
 * \param size The size of the message in bytes: 2 to 65,535, or 0 to shm_options_t.max_message_bytes.
 * \param timeout_ms How long to wait for room, in milliseconds. SHM_FOREVER: without a limit. 0: the call checks
 *   once.
 * \retval SHM_SUCCESS The message is in the queue.
 * \retval SHM_ERROR_TIMEOUT There was no room in time.
 * \retval SHM_ERROR_FULL `timeout_ms` is 0, and there is no room.
 * \retval SHM_ERROR_NOT_CONNECTED The session is over, or the client was stopped.
 * \retval SHM_ERROR_MESSAGE_TOO_SMALL The message has fewer than 2 bytes.
 * \retval SHM_ERROR_MESSAGE_TOO_LARGE The message has more bytes than the channel allows.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_client_send_timeout(struct MultiClientHandle *handle,
                                               const void *data,
                                               uint32_t size,
                                               uint32_t timeout_ms);

/**
 * Returns the client's slot at the server. Before the function that connects has returned, on_connect gets the slot.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \return The slot. SHM_NO_CLIENT: the call failed, with SHM_ERROR_NOT_READY before the function that connects has
 *   returned.
 * \par Threads
 * Any thread.
 */
uint32_t shm_multi_client_slot_id(const struct MultiClientHandle *handle);

/**
 * Returns whether the server is connected, as far as the worker knows.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \return true: the server is connected. false: it is not, or the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_multi_client_is_connected(const struct MultiClientHandle *handle);

/**
 * Stores the process id and the user of the server of the present session, as shm_client_peer does.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param[out] process_id Gets the process id. 0 after a failure. May be NULL.
 * \param[out] user Gets the user as text and a NUL, truncated to the buffer: a SID, on Linux a number. Empty if the
 *   system does not report the user, and after a failure. May be NULL.
 * \param user_size The size of `user` in bytes, including the NUL. 256 bytes are always enough.
 * \retval SHM_SUCCESS The server was stored. It may have left since.
 * \retval SHM_ERROR_NOT_CONNECTED There is no session.
 * \par Threads
 * Any thread.
 */
enum shm_error_t shm_multi_client_peer(const struct MultiClientHandle *handle,
                                       uint32_t *process_id,
                                       char *user,
                                       uint32_t user_size);

/**
 * Stores the client's statistics.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param[out] out Gets the statistics. Zeros after a failure.
 * \return true: the statistics were stored. false: the call failed.
 * \par Threads
 * Any thread.
 */
bool shm_multi_client_stats(const struct MultiClientHandle *handle, struct shm_auto_stats_t *out);

/**
 * Leaves the server and frees the handle. It delivers the messages that have arrived, ends the session, and waits
 * for the client's worker.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From
 * inside a callback of this handle it returns at once, and that callback is the last. The worker ends after that
 * callback, and the handle is then freed. From a callback of another handle it also waits, with one exception: if a
 * callback of this handle waits for the end of that other handle, this function returns while the callback of this
 * handle still runs.
 *
 * \ingroup multi_client
 * \param handle The client, which must not be used afterwards. NULL does nothing.
 * \par Threads
 * Any thread, also inside a callback.
 */
void shm_multi_client_disconnect(struct MultiClientHandle *handle);

/**
 * Begins to leave the server, and returns without waiting. The client delivers the messages that have arrived, and
 * on_disconnect runs last, if there is a connection. A callback can stop its own handle in this way, and another
 * thread can then free it by shm_multi_client_disconnect.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \return SHM_SUCCESS, or a code that each function can return.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_client_request_disconnect(struct MultiClientHandle *handle);

/**
 * Leaves the server and frees the handle, as shm_multi_client_disconnect does, but limits the wait.
 *
 * \ingroup multi_client
 * \param handle The client.
 * \param timeout_ms How long to wait for the end, in milliseconds. SHM_FOREVER: without a limit.
 * \retval SHM_SUCCESS The endpoint has ended, and the handle is freed. After any other code the caller still owns
 *   the handle.
 * \retval SHM_ERROR_TIMEOUT The endpoint has not ended yet, and will end later.
 * \retval SHM_ERROR_NOT_READY The calling callback cannot wait for the end; see shm_multi_client_disconnect.
 * \retval SHM_ERROR_FORKED This process is a fork. The function does nothing there.
 * \par Threads
 * Any thread, also inside a callback.
 */
enum shm_error_t shm_multi_client_disconnect_timeout(struct MultiClientHandle *handle, uint32_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* XSHM_H */

#ifdef XSHM_PACKING_PUSHED
#undef XSHM_PACKING_PUSHED
/* The structures and enumerations have the library's layout. If a line fails here, an option of the compiler changes it. */
typedef char xshm_needs_enumerations_of_4_bytes[sizeof(enum shm_error_t) == 4 && sizeof(bool) == 1 ? 1 : -1];
typedef char xshm_needs_structures_that_are_not_packed[
    sizeof(shm_message_t) == 2 * sizeof(void *) && sizeof(shm_endpoint_config_t) == 2 * sizeof(void *) ? 1 : -1];
#pragma pack(pop)
#endif

#include "xshm_server.h"
#include "xshm_client.h"
