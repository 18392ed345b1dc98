/*
 * xshm: messages between the processes of one machine over shared memory. The C interface.
 *
 * Generated from the library's sources; changes go there. MIT license.
 *
 * Rules for all functions:
 * - NULL never crashes: a function that returns a code returns SHM_ERROR_INVALID_PARAM, one that returns a handle NULL, one
 *   that returns a number 0, one that returns a bool false.
 * - A function that returns a handle returns NULL on failure, and shm_last_error reports the reason. The caller owns the
 *   handle until it calls the handle's stop or disconnect function, and must not use the handle afterwards.
 * - Any thread may call any function, with any handle. One thread may send while another receives. A thread may stop a
 *   handle while other threads are inside calls on it; those calls return first.
 * - The library reads arguments only during the call. It copies callbacks; their user_data must stay valid until the
 *   function that stops the handle has returned, and may be freed then, also inside a callback that stopped its own handle.
 *   (If a callback stops another handle, and a callback of that handle waits for this one, the stop returns while the
 *   other callback still runs. The _stop_timeout_ functions then return SHM_ERROR_NOT_READY, and the handle and user_data
 *   stay valid.)
 * - A callback must end by returning. A C++ exception, a longjmp out of it, pthread_exit or cancelling its thread
 *   would skip the library's own code: the behaviour is undefined, and an exception aborts the process. C++ programs catch
 *   everything in their callbacks, or use xshm.hpp, which does so and reports the exception to on_error.
 * - Times are in milliseconds. 0 checks once; SHM_FOREVER waits for ever.
 * - Besides the codes in its comment, each function can return SHM_ERROR_INVALID_PARAM, SHM_ERROR_INTERNAL and, after a
 *   fork, SHM_ERROR_FORKED.
 * - Signals: the library's threads block all signals but those of a fault of their own. A program that a callback starts
 *   inherits this. A signal handler may call shm_server_interrupt and shm_client_interrupt, and no other function.
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
 *   endpoint has been stopped. On Linux, link a plug-in with -Wl,--exclude-libs,libxshm.a: without it, plug-ins that are loaded
 *   with RTLD_GLOBAL share one plug-in's copy of the library. A thread that has started an endpoint, or whose call has failed,
 *   keeps the shared object loaded until the thread ends, also after the endpoint was stopped (Linux). Stop these endpoints before, in a function of the plug-in, and let the threads that are inside calls
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
/** The version that this header belongs to; xshm_version returns the library's. */
#define XSHM_VERSION_MAJOR 0
#define XSHM_VERSION_MINOR 3
#define XSHM_VERSION_PATCH 0
#define XSHM_VERSION \
    ((XSHM_VERSION_MAJOR << 16) | (XSHM_VERSION_MINOR << 8) | XSHM_VERSION_PATCH)


/**
 * shm_options_t.access: the server's user, the system and the administrators may connect.
 */
#define SHM_ACCESS_OWNER 0

/**
 * shm_options_t.access: every user of the machine may connect.
 */
#define SHM_ACCESS_EVERYONE 1

/**
 * shm_options_t.access: those of SHM_ACCESS_OWNER, and `users`, may connect.
 */
#define SHM_ACCESS_USERS 2

/**
 * shm_options_t.access: those users whom `security_descriptor` permits may connect. Windows only.
 */
#define SHM_ACCESS_SECURITY_DESCRIPTOR 3

/**
 * shm_options_t.access: the system and the administrators may connect, and not the server's user. For a Windows server that runs
 * elevated: SHM_ACCESS_OWNER also admits those processes of its user that are not elevated.
 */
#define SHM_ACCESS_ADMINISTRATORS 4

/**
 * shm_options_t.trust: the client accepts servers of the client's own user and of the system (root on Linux); on Windows
 * also those whose section belongs to the group Administrators.
 */
#define SHM_TRUST_OWNER 0

/**
 * shm_options_t.trust: the client accepts servers of `users`.
 */
#define SHM_TRUST_USERS 1

/**
 * shm_options_t.trust: the client accepts any server that has the name.
 */
#define SHM_TRUST_ANYONE 2

/**
 * A timeout that never passes.
 */
#define SHM_FOREVER UINT32_MAX

/**
 * shm_options_t.spin_us: the library chooses the time.
 */
#define SHM_SPIN_DEFAULT UINT32_MAX

/**
 * The client id that on_error of shm_multi_callbacks_t gets if the error concerns no client.
 */
#define SHM_NO_CLIENT UINT32_MAX

/**
 * The result code of a function, and of shm_last_error. 0 is success; all other codes are negative. New versions only
 * append codes.
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
     * A privilege is missing (for a name that begins with "Global\").
     */
    SHM_ERROR_ACCESS = -7,
    /**
     * The call is not possible now. The peer overwrites messages faster than they can be taken; or a callback needs something
     * that the call around it uses, or would have to wait for itself; or a message is reserved or borrowed in place. Try again
     * later.
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
     * The buffer is too small; the call stored the size that is needed. The message stays in the queue.
     */
    SHM_ERROR_BUFFER_TOO_SMALL = -16,
    /**
     * The message has fewer than 2 bytes.
     */
    SHM_ERROR_MESSAGE_TOO_SMALL = -17,
    /**
     * The message has more than 65,535 bytes, or more than half the ring's bytes minus 8.
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
} shm_error_t;

/**
 * One of a channel's two directions.
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
 */
typedef struct AutoClientHandle AutoClientHandle;

/**
 * A server for one client that works in the background.
 */
typedef struct AutoServerHandle AutoServerHandle;

/**
 * A client of a server for one client.
 */
typedef struct ClientHandle ClientHandle;

/**
 * A client of a server for many clients.
 */
typedef struct MultiClientHandle MultiClientHandle;

/**
 * A server for many clients.
 */
typedef struct MultiServerHandle MultiServerHandle;

/**
 * A server for one client.
 */
typedef struct ServerHandle ServerHandle;

/**
 * Further options of an endpoint. Get a structure from shm_options_default, and change it. The library reads it only during
 * the call.
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
} shm_options_t;

/**
 * A channel's name and size.
 */
typedef struct shm_endpoint_config_t {
    /**
     * 1 to 80 bytes of UTF-8, ending with a NUL, without a backslash. The prefix "Global\" makes the name valid for the
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
 * A callback may call any function of this library, also with its own handle, and may stop that handle. The first callback
 * may run before the function that creates the handle has returned: the program has no handle then. A callback must not
 * throw an exception or leave by longjmp.
 *
 * Get a structure without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
 */
typedef struct shm_callbacks_t {
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
} shm_callbacks_t;

/**
 * The statistics of a channel's current session.
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
     * Always 0.
     */
    uint32_t reserved;
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
    uint64_t signals;
    /**
     * How often this side announced that it was going to sleep. If its last look after that finds a message, it does not
     * sleep. On a channel without events: how often it slept.
     */
    uint64_t sleeps;
} shm_stats_t;

/**
 * The data events of a channel, for native waiters and drivers: handles on Windows, descriptors on Linux. The library owns
 * them.
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
 * How an auto endpoint behaves. Get a structure from shm_auto_options_default, and change it.
 */
typedef struct shm_auto_options_t {
    /**
     * The longest duration of one kernel wait. It limits the delay if a native peer forgets to signal. 0: no limit.
     */
    uint32_t wait_timeout_ms;
    /**
     * The pause before the next attempt to connect, in milliseconds. The default is 100.
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
} shm_auto_options_t;

/**
 * The statistics of an auto endpoint since its creation, over all its connections.
 */
typedef struct shm_auto_stats_t {
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
} shm_auto_stats_t;

/**
 * How a server for many clients behaves. Get a structure from shm_multi_options_default, and change it.
 */
typedef struct shm_multi_options_t {
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
 */
typedef struct shm_multi_callbacks_t {
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
} shm_multi_callbacks_t;

/**
 * How a client of a server for many clients behaves. Get a structure from shm_multi_client_options_default, and change it.
 */
typedef struct shm_multi_client_options_t {
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
} shm_multi_client_options_t;

/**
 * The callbacks of a client of a server for many clients. They run on the client's worker thread, one at a time. Any of
 * them may be NULL. A callback may call any function of this library, and may end the client.
 */
typedef struct shm_multi_client_callbacks_t {
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
} shm_multi_client_callbacks_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the code of this thread's last failed call, or SHM_SUCCESS if no call has failed. A call that succeeds doesn't
 * change it. In on_disconnect and on_client_disconnect it is the reason why the connection ended: SHM_ERROR_NOT_CONNECTED,
 * the peer left; SHM_ERROR_PEER_DIED, the peer's process ended; SHM_ERROR_INTERRUPTED, this side ended the connection; or
 * another error. Any thread.
 */
enum shm_error_t shm_last_error(void);

/**
 * Describes the error of shm_last_error in English, with details.
 *
 * Copies at most `size` bytes into `buffer`, including the NUL. Returns the length of the whole text without the NUL, or 0
 * if no call has failed. `buffer` may be NULL. Any thread.
 */
uint32_t shm_last_error_message(char *buffer,
                                uint32_t size);

/**
 * Returns the meaning of a code in English. Accepts any number, and never returns NULL. The text belongs to the library and
 * is valid for ever. Any thread.
 */
const char *shm_error_string(int32_t code);

/**
 * Returns the library's version in the form of XSHM_VERSION: 65536 * major + 256 * minor + patch. Any thread.
 */
uint32_t xshm_version(void);

/**
 * Returns the default options. Any thread.
 */
struct shm_options_t shm_options_default(void);

/**
 * Starts a server under a name. `callbacks` may be NULL; they are copied.
 *
 * Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_EXISTS, _INVALID_NAME, _INVALID_PARAM, _ACCESS,
 * _MEMORY, _SYSTEM. The caller owns the handle, and frees it with shm_server_stop. Any thread.
 */
struct ServerHandle *shm_server_start(const struct shm_endpoint_config_t *config,
                                      const struct shm_callbacks_t *callbacks);

/**
 * Does the same as shm_server_start, with options, which may be NULL.
 */
struct ServerHandle *shm_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                   const struct shm_callbacks_t *callbacks,
                                                   const struct shm_options_t *options);

/**
 * Starts a server without a name. The client gets the section in some other way: its handle is duplicated into the client's
 * process, for shm_client_attach. The channel has no events unless shm_options_t.anonymous_events asks for them. Without
 * events a waiting side polls every millisecond. With events the client gets them too, see shm_server_client_handles.
 * `buffer_bytes` as in shm_endpoint_config_t; `callbacks` and `options` may be NULL.
 *
 * Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_INVALID_PARAM, _MEMORY, _SYSTEM. Any thread.
 */
struct ServerHandle *shm_server_start_anonymous(uint32_t buffer_bytes,
                                                const struct shm_callbacks_t *callbacks,
                                                const struct shm_options_t *options);

/**
 * Waits for a client, at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 checks once. The session begins with
 * empty queues. Until then other threads can receive the remaining messages of the previous client. After that these
 * messages are discarded, and on_overflow is called with their number.
 *
 * SHM_ERROR_TIMEOUT, _INTERRUPTED, _ALREADY_CONNECTED (the present client still lives), _REFUSED, _SYSTEM, _INVALID_PARAM.
 * Any thread; callers wait for each other.
 */
enum shm_error_t shm_server_wait_for_client(struct ServerHandle *handle,
                                            uint32_t timeout_ms);

/**
 * Does the same as shm_server_wait_for_client, for a client that doesn't signal its request: looks into the section every
 * millisecond.
 */
enum shm_error_t shm_server_wait_for_client_noevent(struct ServerHandle *handle,
                                                    uint32_t timeout_ms);

/**
 * Ends the session with the present client. That client receives what was sent before it detects the end. A server with a name
 * can accept the next client at once, unless the program has asked for handles of the channel. Otherwise the server can accept
 * the next client when this client no longer uses the section. SHM_ERROR_NOT_CONNECTED: there was no session yet. Any thread.
 */
enum shm_error_t shm_server_disconnect_client(struct ServerHandle *handle);

/**
 * Sends a message of 2 to 65,535 bytes. Never waits: a full queue evicts its oldest messages, and on_overflow is called
 * with their number.
 *
 * SHM_ERROR_NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _PROTOCOL, _INVALID_PARAM; _FULL if the
 * server's options reject. Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send(struct ServerHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_send if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the queue is
 * unchanged.
 */
enum shm_error_t shm_server_try_send(struct ServerHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_send, but waits for room: at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0
 * checks once. Evicts nothing. SHM_ERROR_TIMEOUT, _INTERRUPTED.
 */
enum shm_error_t shm_server_send_timeout(struct ServerHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * Waits for a message and copies it into `buffer`. `*size` is the buffer's size before the call, and the message's size
 * after it.
 *
 * SHM_ERROR_BUFFER_TOO_SMALL: `*size` is the size needed, and the message stays in the queue. _NOT_CONNECTED, _PEER_DIED:
 * the peer is gone, and all its messages were received. _INTERRUPTED, _PROTOCOL, _INVALID_PARAM; _TIMEOUT or _EMPTY if the
 * options limit the wait. Any thread, also while another thread sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive(struct ServerHandle *handle,
                                    void *buffer,
                                    uint32_t *size);

/**
 * Does the same as shm_server_receive, without waiting. SHM_ERROR_EMPTY: there is no message.
 */
enum shm_error_t shm_server_try_receive(struct ServerHandle *handle, void *buffer, uint32_t *size);

/**
 * Does the same as shm_server_receive, but waits at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 checks
 * once. SHM_ERROR_TIMEOUT.
 */
enum shm_error_t shm_server_receive_timeout(struct ServerHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * Waits until a message is there, and leaves it in the queue. SHM_SUCCESS: a message is there. SHM_ERROR_TIMEOUT: no
 * message came in time. SHM_ERROR_EMPTY: the time is 0, and there is no message. SHM_FOREVER waits for ever. Otherwise the
 * codes of shm_server_receive.
 */
enum shm_error_t shm_server_poll(struct ServerHandle *handle,
                                 uint32_t timeout_ms);

/**
 * Returns whether the peer is connected; asks the system whether the peer's process still runs. Returns false for NULL. Any
 * thread.
 */
bool shm_server_is_connected(const struct ServerHandle *handle);

/**
 * Stores the peer's process id and user. The process id is the one that the peer states; on Linux, if the server has a
 * name, both sides get it from the kernel. The user is a SID as text, on Linux a number. For a client the user is the owner
 * of the section, which proves which user created it. The text is empty if the system does not report the user.
 *
 * `process_id` and `user` may be NULL; the text is truncated to `user_size` bytes, including the NUL. 256 bytes are always
 * enough. SHM_ERROR_NOT_CONNECTED: there was no peer yet. Any thread.
 */
enum shm_error_t shm_server_peer(const struct ServerHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * Stores the session's statistics. Waits while another thread waits in a call to send or to receive.
 * SHM_ERROR_NOT_CONNECTED: there was no session yet.
 */
enum shm_error_t shm_server_stats(const struct ServerHandle *handle, struct shm_stats_t *out);

/**
 * Makes waiting calls return SHM_ERROR_INTERRUPTED, now and later, until shm_server_resume. Calls that don't need to wait
 * still work. Any thread.
 */
enum shm_error_t shm_server_interrupt(const struct ServerHandle *handle);

/**
 * Ends the effect of shm_server_interrupt: calls may wait again. Any thread.
 */
enum shm_error_t shm_server_resume(const struct ServerHandle *handle);

/**
 * Stores the channel's data events, for native waiters and drivers. The library owns them: duplicate them to pass them on.
 * From this call on every message is signalled, and successive clients use the same section: each client can read what the
 * previous client left there. Returns false if `handle` or `out` is NULL, or if the server has no name and no events. It
 * also returns false, with SHM_ERROR_NOT_READY, if a message is reserved or borrowed in place; commit or release that
 * message first. Any thread.
 */
bool shm_server_get_event_handles(struct ServerHandle *handle,
                                  struct shm_event_handles_t *out);

/**
 * Stores all handles that the client's side of this channel needs. They are for a driver or another process that connects
 * without the name (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that a client needs,
 * and no others. The library owns them, and keeps them open as long as the server exists: duplicate them into the other
 * process.
 *
 * From this call on, successive clients use the same section. On failure all fields of `out` are -1:
 * SHM_ERROR_INVALID_PARAM, _SYSTEM (the process can have no more handles), _NOT_READY (a message is reserved or borrowed in
 * place; commit or release it first). Any thread.
 */
enum shm_error_t shm_server_client_handles(const struct ServerHandle *handle,
                                           struct shm_client_handles_t *out);

/**
 * Returns the section's handle, on Linux its descriptor. Duplicate it into a client's process, or pass it to a driver; the
 * library owns it. From this call on, successive clients use the same section. Returns 0 if `handle` is NULL. It also
 * returns 0, with SHM_ERROR_NOT_READY, if a message is reserved or borrowed in place; commit or release that message first.
 * Any thread.
 */
intptr_t shm_server_section_handle(const struct ServerHandle *handle);

/**
 * Sends `count` messages, in order, each as shm_server_send does. The first few messages wake a sleeping peer. `sent` may
 * be NULL; it receives the number of messages sent, counted from the first.
 *
 * SHM_ERROR_FULL, if the server's options reject: not all messages had room. Otherwise the codes of shm_server_send. If one
 * message has an invalid size, none was sent. Any thread, also while another thread receives; senders wait for each other.
 */
enum shm_error_t shm_server_send_batch(struct ServerHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * Does the same as shm_server_send_batch for as long as there is room; evicts nothing. SHM_ERROR_FULL: not all messages had
 * room.
 */
enum shm_error_t shm_server_try_send_batch(struct ServerHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and takes it together with all further messages
 * that are there and have room: at most `*count` messages, of at most `size` bytes together. The messages lie in `buffer`
 * one after the other. `messages` receives the address of each message, and `*count` their number, which is 0 on any
 * failure.
 *
 * SHM_ERROR_BUFFER_TOO_SMALL: the first message alone is longer than the buffer; this cannot happen with a buffer of 65,535
 * bytes. Otherwise the codes of shm_server_receive_timeout. Any thread, also while another thread sends; receivers wait for
 * each other.
 */
enum shm_error_t shm_server_receive_batch(struct ServerHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * Reserves room for a message of `size` bytes in shared memory. The caller writes the message there, and then sends it by
 * shm_server_commit. Never waits: a full queue evicts its oldest messages. `*data` is the address, aligned to 8 bytes, or
 * NULL on any failure.
 *
 * Nothing is sent before the commit. A reservation without a commit need not be undone: the next message that is sent ends
 * the reservation. So only one thread may send. The peer can write the memory too: don't trust what you read back from
 * there. The address is valid until the commit, the next reserve, or the end of the handle. It stays valid when the session
 * ends, and never refers to another session. Returns the codes of shm_server_send.
 */
enum shm_error_t shm_server_reserve(struct ServerHandle *handle,
                                    uint32_t size,
                                    void **data);

/**
 * Sends the message that was written to the memory from shm_server_reserve.
 *
 * SHM_ERROR_INVALID_PARAM: nothing is reserved, or another message was sent since, or the session of the reservation has
 * ended. Otherwise the codes of shm_server_send.
 */
enum shm_error_t shm_server_commit(struct ServerHandle *handle);

/**
 * Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and stores its address in shared memory; it makes
 * no copy. The message stays in the queue until shm_server_release, and the sender does not overwrite it. Use it only with
 * trusted peers: a peer that breaks the rules can change the message while it is read. It works only if the server's
 * options reject when full.
 *
 * SHM_ERROR_INVALID_PARAM: the channel evicts. Otherwise the codes of shm_server_receive_timeout. On any failure `*data` is
 * NULL and `*size` is 0. Only one thread may receive. The address is valid until the release, the next borrow, or the end
 * of the handle. It stays valid when the session ends, and never refers to another session.
 */
enum shm_error_t shm_server_borrow(struct ServerHandle *handle,
                                   const void **data,
                                   uint32_t *size,
                                   uint32_t timeout_ms);

/**
 * Takes the message from shm_server_borrow out of the queue. Its address must not be used afterwards.
 *
 * SHM_ERROR_INVALID_PARAM: nothing is borrowed, or the message was received since, or its session has ended and another
 * session has begun. SHM_ERROR_PROTOCOL, _NOT_CONNECTED.
 */
enum shm_error_t shm_server_release(struct ServerHandle *handle);

/**
 * Stops the server and frees the handle, which must not be used afterwards. NULL does nothing.
 *
 * The client receives what was sent, and then detects that the server has left. Calls of other threads return first, with
 * SHM_ERROR_INTERRUPTED, or with SHM_ERROR_NOT_CONNECTED after a call of on_disconnect. Those threads cannot tell from the
 * code that the handle is gone. So end them before this call (by a flag of the program, shm_server_interrupt, and a join).
 * This function calls no callback, and no callback begins after it has returned: the program may then free user_data. From
 * inside a callback of this handle it waits only for the calls of other threads. That callback is the last, and the handle is
 * freed when the call around that callback returns. From a callback of another handle it also waits, with one exception: if a
 * callback of this handle waits for the end of that other handle, this function returns while the callback of this handle
 * still runs.
 */
void shm_server_stop(struct ServerHandle *handle);

/**
 * Connects to the server that has the name. Waits until the server exists, until the previous client has left, and until
 * the server accepts: at most `timeout_ms` milliseconds in all; SHM_FOREVER waits for ever. `callbacks` may be NULL; they
 * are copied.
 *
 * Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_TIMEOUT, _ALREADY_CONNECTED, _REFUSED,
 * _INCOMPATIBLE, _INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The caller owns the handle, and frees it with
 * shm_client_disconnect. Any thread.
 */
struct ClientHandle *shm_client_connect(const struct shm_endpoint_config_t *config,
                                        const struct shm_callbacks_t *callbacks,
                                        uint32_t timeout_ms);

/**
 * Does the same as shm_client_connect, with options, which may be NULL.
 */
struct ClientHandle *shm_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                     const struct shm_callbacks_t *callbacks,
                                                     const struct shm_options_t *options,
                                                     uint32_t timeout_ms);

/**
 * Connects to a server without a name by a handle to its section (on Linux a descriptor) in this process. The library
 * duplicates the handle; the caller keeps its own. It does not check which user owns the server. In all else it is the same
 * as shm_client_connect_with_options.
 */
struct ClientHandle *shm_client_attach(intptr_t section_handle,
                                       const struct shm_callbacks_t *callbacks,
                                       const struct shm_options_t *options,
                                       uint32_t timeout_ms);

/**
 * Connects to a server by the handles from its shm_server_client_handles, duplicated into this process. The library
 * duplicates the handles once more; the caller keeps its own. In all else it is the same as shm_client_attach.
 */
struct ClientHandle *shm_client_attach_handles(const struct shm_client_handles_t *handles,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_options_t *options,
                                               uint32_t timeout_ms);

/**
 * Does the same as shm_server_send, for a client.
 */
enum shm_error_t shm_client_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_try_send, for a client.
 */
enum shm_error_t shm_client_try_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_send_timeout, for a client.
 */
enum shm_error_t shm_client_send_timeout(struct ClientHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * Does the same as shm_server_receive, for a client.
 */
enum shm_error_t shm_client_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * Does the same as shm_server_try_receive, for a client.
 */
enum shm_error_t shm_client_try_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * Does the same as shm_server_receive_timeout, for a client.
 */
enum shm_error_t shm_client_receive_timeout(struct ClientHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * Does the same as shm_server_poll, for a client.
 */
enum shm_error_t shm_client_poll(struct ClientHandle *handle, uint32_t timeout_ms);

/**
 * Does the same as shm_server_is_connected, for a client.
 */
bool shm_client_is_connected(const struct ClientHandle *handle);

/**
 * Does the same as shm_server_peer, for a client.
 */
enum shm_error_t shm_client_peer(const struct ClientHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * Does the same as shm_server_stats, for a client.
 */
enum shm_error_t shm_client_stats(const struct ClientHandle *handle, struct shm_stats_t *out);

/**
 * Does the same as shm_server_interrupt, for a client.
 */
enum shm_error_t shm_client_interrupt(const struct ClientHandle *handle);

/**
 * Does the same as shm_server_resume, for a client.
 */
enum shm_error_t shm_client_resume(const struct ClientHandle *handle);

/**
 * Does the same as shm_server_send_batch, for a client.
 */
enum shm_error_t shm_client_send_batch(struct ClientHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * Does the same as shm_server_try_send_batch, for a client.
 */
enum shm_error_t shm_client_try_send_batch(struct ClientHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * Does the same as shm_server_receive_batch, for a client.
 */
enum shm_error_t shm_client_receive_batch(struct ClientHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * Does the same as shm_server_reserve, for a client.
 */
enum shm_error_t shm_client_reserve(struct ClientHandle *handle, uint32_t size, void **data);

/**
 * Does the same as shm_server_commit, for a client.
 */
enum shm_error_t shm_client_commit(struct ClientHandle *handle);

/**
 * Does the same as shm_server_borrow, for a client.
 */
enum shm_error_t shm_client_borrow(struct ClientHandle *handle, const void **data, uint32_t *size, uint32_t timeout_ms);

/**
 * Does the same as shm_server_release, for a client.
 */
enum shm_error_t shm_client_release(struct ClientHandle *handle);

/**
 * Does the same as shm_server_stop, for a client: leaves the server and frees the handle. The server still receives what
 * the client sent.
 */
void shm_client_disconnect(struct ClientHandle *handle);

/**
 * Returns the default options. Any thread.
 */
struct shm_auto_options_t shm_auto_options_default(void);

/**
 * Starts a server that works in the background: it accepts clients, one after the other, and passes their messages to
 * on_message. All of this happens on its own worker thread. Returns at once. `callbacks` and `options` may be NULL.
 *
 * Returns NULL on failure; shm_last_error reports the reason, as after shm_server_start. The caller owns the handle, and
 * frees it with shm_server_stop_auto. Any thread.
 */
struct AutoServerHandle *shm_server_start_auto(const struct shm_endpoint_config_t *config,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_auto_options_t *options);

/**
 * Does the same as shm_server_start_auto, with options of the channel, which may be NULL.
 */
struct AutoServerHandle *shm_server_start_auto_with_options(const struct shm_endpoint_config_t *config,
                                                            const struct shm_callbacks_t *callbacks,
                                                            const struct shm_auto_options_t *options,
                                                            const struct shm_options_t *channel_options);

/**
 * Sends a message. With a connection the message goes into the ring at once, and evicts the oldest messages if there is no
 * room. Without a connection it waits in the send queue. on_overflow reports lost messages. The call never waits.
 *
 * SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _NOT_CONNECTED (stopped, or without a connection and without a queue),
 * _FULL if the server's options reject, _INVALID_PARAM. Any thread.
 */
enum shm_error_t shm_server_send_auto(struct AutoServerHandle *handle,
                                      const void *data,
                                      uint32_t size);

/**
 * Does the same as shm_server_send_auto if there is room; evicts and drops nothing. SHM_ERROR_FULL: there is no room.
 * on_space_available runs when there is room again.
 */
enum shm_error_t shm_server_try_send_auto(struct AutoServerHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_try_send_auto, but waits for room: at most `timeout_ms` milliseconds, or for ever with
 * SHM_FOREVER. SHM_ERROR_TIMEOUT. It also waits inside a callback of this handle. The peer must then make the room without
 * an answer from this endpoint meanwhile. Inside a callback and without a connection it fails at once, with SHM_ERROR_FULL
 * if the queue has no room.
 */
enum shm_error_t shm_server_send_timeout_auto(struct AutoServerHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * Stores the endpoint's statistics. Returns false if `handle` or `out` is NULL. Any thread.
 */
bool shm_server_stats_auto(const struct AutoServerHandle *handle, struct shm_auto_stats_t *out);

/**
 * Stops the endpoint and frees the handle, which must not be used afterwards. It delivers the messages that have arrived,
 * sends queued messages as far as they fit, ends the connection, and waits for the worker's end. NULL does nothing.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From inside a
 * callback of this handle it returns at once, and that callback is the last. The worker ends after that callback, and the
 * handle is then freed. From a callback of another handle it also waits, with one exception: if a callback of this handle
 * waits for the end of that other handle, this function returns while the callback of this handle still runs.
 */
void shm_server_stop_auto(struct AutoServerHandle *handle);

/**
 * Returns the present session's number, which stands for its client and for no later client. Returns 0 if there is no
 * session, or for NULL. Any thread.
 */
uint64_t shm_server_session_auto(const struct AutoServerHandle *handle);

/**
 * Does the same as shm_server_send_auto, but sends only to the client of that session. Use it for an answer that takes
 * longer than a callback. SHM_ERROR_NOT_CONNECTED: the session is over.
 */
enum shm_error_t shm_server_send_to_session_auto(struct AutoServerHandle *handle,
                                                 uint64_t session,
                                                 const void *data,
                                                 uint32_t size);

/**
 * Begins to stop, and returns without waiting. The caller still owns the handle, and frees it with shm_server_stop_auto.
 * The endpoint delivers the messages that have arrived, and on_disconnect runs last, if there is a connection. Any thread,
 * also inside a callback: a callback can stop its own handle, and another thread can then free it. In a fork of the process
 * it does nothing and returns SHM_ERROR_FORKED.
 */
enum shm_error_t shm_server_request_stop_auto(struct AutoServerHandle *handle);

/**
 * Does the same as shm_server_stop_auto, but waits at most `timeout_ms` milliseconds. SHM_SUCCESS: the endpoint has ended,
 * and the handle is freed. After any other code the caller still owns the handle. SHM_ERROR_TIMEOUT: the endpoint has not
 * ended yet, and will end later. SHM_ERROR_NOT_READY: the calling callback cannot wait for the end; see
 * shm_server_stop_auto. SHM_ERROR_FORKED: in a fork, this function releases the fork's hold on the name.
 */
enum shm_error_t shm_server_stop_timeout_auto(struct AutoServerHandle *handle,
                                              uint32_t timeout_ms);

/**
 * Connects in the background, connects again whenever the connection is lost, and passes the server's messages to
 * on_message. All of this happens on its own worker thread. Returns at once; on_connect runs when there is a connection.
 * `callbacks` and `options` may be NULL.
 *
 * Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The
 * caller owns the handle, and frees it with shm_client_disconnect_auto. Any thread.
 */
struct AutoClientHandle *shm_client_connect_auto(const struct shm_endpoint_config_t *config,
                                                 const struct shm_callbacks_t *callbacks,
                                                 const struct shm_auto_options_t *options);

/**
 * Does the same as shm_client_connect_auto, with options of the channel, which may be NULL.
 */
struct AutoClientHandle *shm_client_connect_auto_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_callbacks_t *callbacks,
                                                              const struct shm_auto_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * Does the same as shm_server_send_auto, for a client.
 */
enum shm_error_t shm_client_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_try_send_auto, for a client.
 */
enum shm_error_t shm_client_try_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_server_send_timeout_auto, for a client.
 */
enum shm_error_t shm_client_send_timeout_auto(struct AutoClientHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * Does the same as shm_server_stats_auto, for a client.
 */
bool shm_client_stats_auto(const struct AutoClientHandle *handle, struct shm_auto_stats_t *out);

/**
 * Does the same as shm_server_stop_auto, for a client.
 */
void shm_client_disconnect_auto(struct AutoClientHandle *handle);

/**
 * Does the same as shm_server_request_stop_auto, for a client. The caller frees the handle with shm_client_disconnect_auto.
 */
enum shm_error_t shm_client_request_disconnect_auto(struct AutoClientHandle *handle);

/**
 * Does the same as shm_server_stop_timeout_auto, for a client.
 */
enum shm_error_t shm_client_disconnect_timeout_auto(struct AutoClientHandle *handle, uint32_t timeout_ms);

/**
 * Returns the default options. Any thread.
 */
struct shm_multi_options_t shm_multi_options_default(void);

/**
 * Returns a structure without callbacks: all are NULL. Any thread.
 */
struct shm_multi_callbacks_t shm_multi_callbacks_default(void);

/**
 * Starts a server for many clients under a name. It works on its own threads. `callbacks` and `options` may be NULL.
 *
 * Returns NULL on failure; shm_last_error reports the reason, as after shm_server_start. The caller owns the handle, and
 * frees it with shm_multi_server_stop. Any thread.
 */
struct MultiServerHandle *shm_multi_server_start(const char *name,
                                                 const struct shm_multi_callbacks_t *callbacks,
                                                 const struct shm_multi_options_t *options);

/**
 * Does the same as shm_multi_server_start, with the size of each client's rings, and with options of each client's channel,
 * which may be NULL.
 */
struct MultiServerHandle *shm_multi_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_multi_callbacks_t *callbacks,
                                                              const struct shm_multi_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * Sends a message to a client. Never waits: a full queue evicts its oldest messages.
 *
 * SHM_ERROR_NOT_FOUND: the slot has no client. _NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE,
 * _PROTOCOL, _FULL if the options reject. Any thread.
 */
enum shm_error_t shm_multi_server_send_to(struct MultiServerHandle *handle,
                                          uint32_t client_id,
                                          const void *data,
                                          uint32_t size);

/**
 * Does the same as shm_multi_server_send_to if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the
 * queue is unchanged.
 */
enum shm_error_t shm_multi_server_try_send_to(struct MultiServerHandle *handle,
                                              uint32_t client_id,
                                              const void *data,
                                              uint32_t size);

/**
 * Sends a message to every client, and stores the number of clients that got it in `*sent`, which may be NULL. A failure
 * for one client does not affect the others. SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE. Any thread.
 */
enum shm_error_t shm_multi_server_broadcast(struct MultiServerHandle *handle,
                                            const void *data,
                                            uint32_t size,
                                            uint32_t *sent);

/**
 * Returns the session number of the client that has a slot; it stands for that client and for no later client. Returns 0 if
 * the slot has no client, or for NULL. Inside a callback for a slot, including on_client_disconnect, it is that client's
 * session. Any thread.
 */
uint64_t shm_multi_server_session(const struct MultiServerHandle *handle,
                                  uint32_t client_id);

/**
 * Does the same as shm_multi_server_send_to, but sends only to the client of that session. Use it for an answer that takes
 * longer than a callback, so that the answer reaches no other client. SHM_ERROR_NOT_CONNECTED: the session is over.
 */
enum shm_error_t shm_multi_server_send_to_session(struct MultiServerHandle *handle,
                                                  uint64_t session,
                                                  const void *data,
                                                  uint32_t size);

/**
 * Does the same as shm_multi_server_send_to_session if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and
 * the queue is unchanged.
 */
enum shm_error_t shm_multi_server_try_send_to_session(struct MultiServerHandle *handle,
                                                      uint64_t session,
                                                      const void *data,
                                                      uint32_t size);

/**
 * Does the same as shm_multi_server_disconnect_client, but only for that session. SHM_ERROR_NOT_CONNECTED: the session is
 * over.
 */
enum shm_error_t shm_multi_server_disconnect_session(struct MultiServerHandle *handle,
                                                     uint64_t session);

/**
 * Ends a client's session. The client first receives the messages sent to it, and on_message receives the messages that the
 * client has sent. SHM_ERROR_NOT_FOUND: the slot has no client. Any thread.
 */
enum shm_error_t shm_multi_server_disconnect_client(struct MultiServerHandle *handle,
                                                    uint32_t client_id);

/**
 * Returns the number of clients. Any thread.
 */
uint32_t shm_multi_server_client_count(const struct MultiServerHandle *handle);

/**
 * Returns whether a slot has a client. Any thread.
 */
bool shm_multi_server_is_client_connected(const struct MultiServerHandle *handle, uint32_t client_id);

/**
 * Stores the slots that have a client in `ids`, in order, at most `max` of them. Stores their total number in `*actual`,
 * which may be greater than `max`. `ids` may be NULL if `max` is 0; `actual` may always be NULL.
 * SHM_ERROR_BUFFER_TOO_SMALL: there are more than `max` slots with a client, and the first `max` were stored. Any thread.
 */
enum shm_error_t shm_multi_server_get_clients(const struct MultiServerHandle *handle,
                                              uint32_t *ids,
                                              uint32_t max,
                                              uint32_t *actual);

/**
 * Copies a name of a slot's channel for use in a log. Copies at most `size` bytes into `buffer`, including the NUL. Returns
 * the length of the whole text without the NUL, or 0 if there is no such slot. `buffer` may be NULL. Any thread.
 */
uint32_t shm_multi_server_channel_name(const struct MultiServerHandle *handle,
                                       uint32_t slot,
                                       char *buffer,
                                       uint32_t size);

/**
 * Stops the server and frees the handle, which must not be used afterwards. It delivers the messages that have arrived,
 * ends all sessions, and waits for the server's threads. NULL does nothing.
 *
 * No callback begins after this function has returned: the program may then free what user_data points to. From inside a
 * callback of this handle it waits only for the callbacks that other threads of the server are in. That callback is the last;
 * the threads end after it, and the handle is then freed. From a callback of another handle it also waits, with one exception:
 * if a callback of this handle waits for the end of that other handle, this function returns while the callback of this handle
 * still runs.
 */
void shm_multi_server_stop(struct MultiServerHandle *handle);

/**
 * Begins to stop, and returns without waiting. The caller still owns the handle, and frees it with shm_multi_server_stop.
 * The endpoint delivers the messages that have arrived, and on_client_disconnect runs last. Any thread, also inside a
 * callback: a callback can stop its own handle, and another thread can then free it. In a fork of the process it does
 * nothing and returns SHM_ERROR_FORKED.
 */
enum shm_error_t shm_multi_server_request_stop(struct MultiServerHandle *handle);

/**
 * Does the same as shm_multi_server_stop, but waits at most `timeout_ms` milliseconds. SHM_SUCCESS: the endpoint has ended,
 * and the handle is freed. After any other code the caller still owns the handle. SHM_ERROR_TIMEOUT: the endpoint has not
 * ended yet, and will end later. SHM_ERROR_NOT_READY: the calling callback cannot wait for the end; see
 * shm_multi_server_stop.
 */
enum shm_error_t shm_multi_server_stop_timeout(struct MultiServerHandle *handle,
                                               uint32_t timeout_ms);

/**
 * Returns the default options. Any thread.
 */
struct shm_multi_client_options_t shm_multi_client_options_default(void);

/**
 * Returns a structure without callbacks: all are NULL. Any thread.
 */
struct shm_multi_client_callbacks_t shm_multi_client_callbacks_default(void);

/**
 * Connects to a server for many clients, and returns when the server has given the client a slot. From then on the client
 * works on its own thread. It doesn't reconnect automatically. `callbacks` and `options` may be NULL.
 *
 * Returns NULL on failure; shm_last_error reports the reason: SHM_ERROR_TIMEOUT, _NO_SLOT, _ALREADY_CONNECTED, _REFUSED,
 * _INCOMPATIBLE, _INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The caller owns the handle, and frees it with
 * shm_multi_client_disconnect. Any thread.
 */
struct MultiClientHandle *shm_multi_client_connect(const char *name,
                                                   const struct shm_multi_client_callbacks_t *callbacks,
                                                   const struct shm_multi_client_options_t *options);

/**
 * Does the same as shm_multi_client_connect, with a required size of the rings, and with options of the channel, which may
 * be NULL.
 */
struct MultiClientHandle *shm_multi_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                                const struct shm_multi_client_callbacks_t *callbacks,
                                                                const struct shm_multi_client_options_t *options,
                                                                const struct shm_options_t *channel_options);

/**
 * Sends a message. Never waits: a full queue evicts its oldest messages. SHM_ERROR_NOT_CONNECTED, _MESSAGE_TOO_SMALL,
 * _MESSAGE_TOO_LARGE, _FULL if the server's options reject. Any thread.
 */
enum shm_error_t shm_multi_client_send(struct MultiClientHandle *handle, const void *data, uint32_t size);

/**
 * Does the same as shm_multi_client_send if there is room; evicts nothing. SHM_ERROR_FULL: there is no room, and the queue
 * is unchanged.
 */
enum shm_error_t shm_multi_client_try_send(struct MultiClientHandle *handle,
                                           const void *data,
                                           uint32_t size);

/**
 * Does the same as shm_multi_client_try_send, but waits for room: at most `timeout_ms` milliseconds, or for ever with
 * SHM_FOREVER. SHM_ERROR_TIMEOUT. It also waits inside a callback of this handle. The server must then make the room
 * without an answer from this client meanwhile.
 */
enum shm_error_t shm_multi_client_send_timeout(struct MultiClientHandle *handle,
                                               const void *data,
                                               uint32_t size,
                                               uint32_t timeout_ms);

/**
 * Returns the client's slot at the server, or SHM_NO_CLIENT for NULL. Any thread.
 */
uint32_t shm_multi_client_slot_id(const struct MultiClientHandle *handle);

/**
 * Returns whether the client is still connected. Any thread.
 */
bool shm_multi_client_is_connected(const struct MultiClientHandle *handle);

/**
 * Does the same as shm_multi_server_stop, for a client: leaves the server.
 */
void shm_multi_client_disconnect(struct MultiClientHandle *handle);

/**
 * Does the same as shm_multi_server_request_stop, for a client. The caller frees the handle with
 * shm_multi_client_disconnect.
 */
enum shm_error_t shm_multi_client_request_disconnect(struct MultiClientHandle *handle);

/**
 * Does the same as shm_multi_server_stop_timeout, for a client.
 */
enum shm_error_t shm_multi_client_disconnect_timeout(struct MultiClientHandle *handle, uint32_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* XSHM_H */

#include "xshm_server.h"
#include "xshm_client.h"
