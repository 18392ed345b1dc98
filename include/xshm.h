/*
 * xshm: messages between the processes of one machine over shared memory. The C interface.
 *
 * Generated from the library's sources; changes go there. MIT license.
 *
 * Rules for all functions:
 * - NULL never crashes: a function that returns a code returns SHM_ERROR_INVALID_PARAM, one that returns a handle NULL, one
 *   that returns a number 0, one that returns a bool false.
 * - A function that returns a handle returns NULL on failure, and shm_last_error says why. A handle is the caller's until
 *   it is given to its stop or disconnect function; using it afterwards is the one thing that must never be done.
 * - Any thread may call any function, with any handle. One thread may send while another receives. A handle may be stopped
 *   while other threads are inside calls on it; those return first.
 * - What a function is given is read during the call only. Callbacks are copied; their user_data must stay good until the
 *   function that stops the handle has returned, and may be freed then, also inside a callback that stopped its own handle.
 *   (Where a callback stops another handle, whose callback waits for this one, the stop returns before that callback has: the
 *   _stop_timeout_ forms return SHM_ERROR_NOT_READY then, and the handle and user_data stay good.)
 * - Times are in milliseconds. 0 looks once; SHM_FOREVER waits for ever.
 * - The codes that are named with a function come beside SHM_ERROR_INVALID_PARAM, SHM_ERROR_INTERNAL and, after a fork,
 *   SHM_ERROR_FORKED.
 */


#ifndef XSHM_H
#define XSHM_H

#include <stdbool.h>
#include <stdint.h>
/** The version that this header belongs to; xshm_version says the library's. */
#define XSHM_VERSION_MAJOR 0
#define XSHM_VERSION_MINOR 3
#define XSHM_VERSION_PATCH 0
#define XSHM_VERSION \
    ((XSHM_VERSION_MAJOR << 16) | (XSHM_VERSION_MINOR << 8) | XSHM_VERSION_PATCH)


/**
 * shm_options_t.access: the server's user, the system and the administrators.
 */
#define SHM_ACCESS_OWNER 0

/**
 * shm_options_t.access: every user of the machine.
 */
#define SHM_ACCESS_EVERYONE 1

/**
 * shm_options_t.access: those of SHM_ACCESS_OWNER, and `users`.
 */
#define SHM_ACCESS_USERS 2

/**
 * shm_options_t.access: as `security_descriptor` says. Windows only.
 */
#define SHM_ACCESS_SECURITY_DESCRIPTOR 3

/**
 * shm_options_t.trust: servers of the client's own user and of the system (root on Linux); on Windows also those whose
 * section belongs to the group Administrators.
 */
#define SHM_TRUST_OWNER 0

/**
 * shm_options_t.trust: servers of `users`.
 */
#define SHM_TRUST_USERS 1

/**
 * shm_options_t.trust: any server that has the name.
 */
#define SHM_TRUST_ANYONE 2

/**
 * A timeout that never passes.
 */
#define SHM_FOREVER UINT32_MAX

/**
 * shm_options_t.spin_us: as long as the library thinks best.
 */
#define SHM_SPIN_DEFAULT UINT32_MAX

/**
 * What on_error of shm_multi_callbacks_t gets where no client is meant.
 */
#define SHM_NO_CLIENT UINT32_MAX

/**
 * What a function returns, and what shm_last_error says. 0 is success, the rest is negative. New codes are only ever
 * appended.
 */
typedef enum shm_error_t {
    /**
     * Done.
     */
    SHM_SUCCESS = 0,
    /**
     * An argument is NULL that must not be, or an option has a value that it can't have.
     */
    SHM_ERROR_INVALID_PARAM = -1,
    /**
     * The system has no memory for it.
     */
    SHM_ERROR_MEMORY = -2,
    /**
     * The time given was up before it happened.
     */
    SHM_ERROR_TIMEOUT = -3,
    /**
     * No message is queued.
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
     * Not now: the peer overwrites faster than messages can be taken; or a callback used what its own call uses, or would wait
     * for itself; or a message is reserved or borrowed in place. Try again when that is over.
     */
    SHM_ERROR_NOT_READY = -8,
    /**
     * The peer wrote what the protocol does not allow. The session is over.
     */
    SHM_ERROR_PROTOCOL = -9,
    /**
     * No room for the message. The queue is as it was.
     */
    SHM_ERROR_FULL = -10,
    /**
     * The server has no free slot.
     */
    SHM_ERROR_NO_SLOT = -11,
    /**
     * A defect of this library; or memory that it was given was not what it should be.
     */
    SHM_ERROR_INTERNAL = -12,
    /**
     * No peer yet, or it has left. From a function that receives: all that it sent was received.
     */
    SHM_ERROR_NOT_CONNECTED = -13,
    /**
     * The peer's process ended without leaving. From a function that receives: all that it sent was received.
     */
    SHM_ERROR_PEER_DIED = -14,
    /**
     * The server has another client, or has not yet looked for the next one.
     */
    SHM_ERROR_ALREADY_CONNECTED = -15,
    /**
     * The buffer is too small; the size that is needed was stored. The message stays in the queue.
     */
    SHM_ERROR_BUFFER_TOO_SMALL = -16,
    /**
     * A message has at least 2 bytes.
     */
    SHM_ERROR_MESSAGE_TOO_SMALL = -17,
    /**
     * A message has at most 65,535 bytes, and half the ring less 8.
     */
    SHM_ERROR_MESSAGE_TOO_LARGE = -18,
    /**
     * The call was ended by shm_server_interrupt, shm_client_interrupt, or by stopping the handle.
     */
    SHM_ERROR_INTERRUPTED = -19,
    /**
     * A name has 1 to 80 bytes of UTF-8, and no backslash. A user is a SID or a number.
     */
    SHM_ERROR_INVALID_NAME = -20,
    /**
     * One side does not want, or is not allowed, to talk to the other.
     */
    SHM_ERROR_REFUSED = -21,
    /**
     * The peer is an incompatible version, or has other sizes than were asked for.
     */
    SHM_ERROR_INCOMPATIBLE = -22,
    /**
     * A call of the operating system failed.
     */
    SHM_ERROR_SYSTEM = -23,
    /**
     * The handle belongs to the process that made it, not to a fork of that.
     */
    SHM_ERROR_FORKED = -24,
} shm_error_t;

/**
 * One of a channel's two directions.
 */
typedef enum shm_direction_t {
    /**
     * What the server sends.
     */
    SHM_DIR_SERVER_TO_CLIENT = 0,
    /**
     * What the client sends.
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
 * What else an endpoint may choose. Get one from shm_options_default, and change it. Read during the call only.
 */
typedef struct shm_options_t {
    /**
     * sizeof (shm_options_t), so that a newer library knows which fields there are.
     */
    uint32_t struct_size;
    /**
     * Servers: messages that each direction queues at most. 0: 250, or what fits into a smaller ring. Clients: 0, or refuse a server that differs.
     */
    uint32_t message_limit;
    /**
     * How long a call that waits looks again and again before it sleeps, in microseconds. 0: not at all.
     * SHM_SPIN_DEFAULT: 50, and 0 on a machine with one processor.
     */
    uint32_t spin_us;
    /**
     * How long shm_..._receive waits: SHM_FOREVER unless changed. 0: not at all (SHM_ERROR_EMPTY).
     */
    uint32_t receive_timeout_ms;
    /**
     * 0: refuse a peer whose process can't be watched. Else accept it, and look this often whether it still runs.
     */
    uint32_t check_interval_ms;
    /**
     * Servers: not 0 makes both sides' shm_..._send return SHM_ERROR_FULL where they would evict the oldest messages.
     */
    uint32_t reject_when_full;
    /**
     * Servers: who may connect, one of SHM_ACCESS_...
     */
    uint32_t access;
    /**
     * Clients: whose servers to talk to, one of SHM_TRUST_...
     */
    uint32_t trust;
    /**
     * For SHM_ACCESS_USERS and SHM_TRUST_USERS: SIDs as text ("S-1-5-32-545"), on Linux user ids ("1000").
     */
    const char *const *users;
    /**
     * How many they are.
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
     * Servers for many clients: how many share a worker thread, from 1 to 30. 0: 30.
     */
    uint32_t clients_per_worker;
    /**
     * Servers without a name: not 0 gives them events, which the client gets by shm_server_client_handles.
     */
    uint32_t anonymous_events;
} shm_options_t;

/**
 * A channel's name and size.
 */
typedef struct shm_endpoint_config_t {
    /**
     * 1 to 80 bytes of UTF-8, ending with a NUL, without a backslash. "Global\" in front of it makes it the whole
     * machine's. Read during the call only.
     */
    const char *name;
    /**
     * Bytes in each direction's ring: a power of two from 4,096 to 2^30. 0: 2 MiB, or what the server has. A client
     * with another number refuses a server that differs.
     */
    uint32_t buffer_bytes;
} shm_endpoint_config_t;

/**
 * What an endpoint calls. Any of them may be NULL.
 *
 * Of a synchronous endpoint (shm_server_..., shm_client_...) they run inside the call that notices, on its thread:
 * on_connect in the call that connects; on_disconnect once, in the first call to send, receive, poll or wait for a client that
 * finds the connection over. These two come one at a time, in the order of the connections: while one thread is in one of
 * them, it makes the next ones too, and the other threads' calls don't wait for it. Further:
 * on_data_available in a poll that finds a message; on_space_available in a shm_..._send_timeout that had to wait for
 * room and got it; on_overflow in the call that evicts messages, or that finds that the peer has; on_error when the
 * peer broke the protocol. on_message is never called.
 *
 * Of an auto endpoint they run on its worker thread, one at a time; on_data_available comes before each on_message.
 *
 * Any of them may call any function of this library, also with its own handle, and may stop it. The first of them may run
 * before the function that makes the handle has returned: what user_data points to has no handle then.
 *
 * Get one without callbacks from xshm_server_callbacks_default or xshm_client_callbacks_default.
 */
typedef struct shm_callbacks_t {
    /**
     * A connection began.
     */
    void (*on_connect)(void *user_data);
    /**
     * It is over; shm_last_error says how it ended.
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
     * Something failed; shm_last_error_message says what.
     */
    void (*on_error)(enum shm_error_t error, void *user_data);
    /**
     * Handed to each of them. Must be good for their threads.
     */
    void *user_data;
    /**
     * A message; `data` is good until the callback returns.
     */
    void (*on_message)(enum shm_direction_t direction, const void *data, uint32_t size, void *user_data);
    /**
     * `count` messages of that direction were lost: evicted by newer ones; or not received before the next session began
     * (of a server, after on_disconnect); or, of an auto endpoint, left when a connection ended or the endpoint was stopped.
     */
    void (*on_overflow)(enum shm_direction_t direction, uint32_t count, void *user_data);
} shm_callbacks_t;

/**
 * A channel's figures, of the current session.
 */
typedef struct shm_stats_t {
    /**
     * Which connection of this channel it is: a number that grows.
     */
    uint32_t generation;
    /**
     * Messages sent that the peer has not taken yet.
     */
    uint32_t send_depth;
    /**
     * Messages that wait to be received.
     */
    uint32_t receive_depth;
    /**
     * 0.
     */
    uint32_t reserved;
    /**
     * Messages sent.
     */
    uint64_t sent;
    /**
     * Of these, messages evicted before the peer took them.
     */
    uint64_t send_dropped;
    /**
     * Messages received.
     */
    uint64_t received;
    /**
     * Messages that the peer evicted before we took them, as known from those received since.
     */
    uint64_t receive_dropped;
    /**
     * Kernel signals sent: at most one for each of the peer's sleeps; one for each message where a program waits natively.
     */
    uint64_t signals;
    /**
     * How often this side announced that it was going to sleep; a last look after that may find a message, and then it
     * doesn't. On a channel without events: how often it slept.
     */
    uint64_t sleeps;
} shm_stats_t;

/**
 * The data events of a channel, for native waiters and drivers: handles on Windows, descriptors on Linux. They stay
 * the library's.
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
 * All that the client's end of a channel needs, for a driver or another process: handles on Windows, descriptors on
 * Linux, where an event to wait for and one to set may be the same descriptor.
 */
typedef struct shm_client_handles_t {
    /**
     * The section.
     */
    intptr_t section;
    /**
     * The server has sent a message: the client waits for it. -1, as all that follow: the channel has no events.
     */
    intptr_t s2c_data;
    /**
     * The client has sent a message: it sets it.
     */
    intptr_t c2s_data;
    /**
     * The client has taken a message: it sets it.
     */
    intptr_t s2c_space;
    /**
     * The server has taken a message: the client waits for it.
     */
    intptr_t c2s_space;
    /**
     * The client asks to be accepted: it sets it.
     */
    intptr_t request;
    /**
     * The server has answered: the client waits for it.
     */
    intptr_t acknowledge;
    /**
     * Either side has left: the client sets it, and may wait for it.
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
     * How many.
     */
    uint32_t size;
} shm_message_t;

/**
 * How an auto endpoint behaves. Get one from shm_auto_options_default, and change it.
 */
typedef struct shm_auto_options_t {
    /**
     * An upper bound of one kernel wait, as a safety net against a native peer that forgets to signal. 0: none.
     */
    uint32_t wait_timeout_ms;
    /**
     * The pause before the next attempt to connect: 100.
     */
    uint32_t reconnect_delay_ms;
    /**
     * How long a client's attempt to connect lasts: 5000.
     */
    uint32_t connect_timeout_ms;
    /**
     * Messages that wait for a connection at most: 256. The oldest are dropped for the newest. 0: none wait.
     */
    uint32_t max_send_queue;
    /**
     * Messages that are handed over before the worker looks after anything else: 64. 0 counts as 1.
     */
    uint32_t recv_batch;
} shm_auto_options_t;

/**
 * What an auto endpoint has done since it was made, over all its connections.
 */
typedef struct shm_auto_stats_t {
    /**
     * Messages that were put into a ring.
     */
    uint64_t sent_messages;
    /**
     * Messages to send that were lost: dropped from the full queue, evicted, or left in the ring when the peer was gone.
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
 * How a server for many clients behaves. Get one from shm_multi_options_default, and change it.
 */
typedef struct shm_multi_options_t {
    /**
     * Slots: 20.
     */
    uint32_t max_clients;
    /**
     * An upper bound of one kernel wait, as a safety net against a native peer that forgets to signal. 0: none.
     */
    uint32_t poll_timeout_ms;
    /**
     * Messages of one client that are handed over before its worker looks at the next: 64. 0 counts as 1.
     */
    uint32_t recv_batch;
} shm_multi_options_t;

/**
 * What a server for many clients calls. Any of them may be NULL. Of one client they run on one worker thread, one at a time
 * (on_client_connect on the thread that accepts); those of clients on other workers at the same time. Any of them may call
 * any function of this library, and may stop the server.
 */
typedef struct shm_multi_callbacks_t {
    /**
     * A client has a slot. Before its first message. The client waits in its call to connect until this returns.
     */
    void (*on_client_connect)(uint32_t client_id, void *user_data);
    /**
     * It is gone; shm_last_error says how it ended. After its last message.
     */
    void (*on_client_disconnect)(uint32_t client_id, void *user_data);
    /**
     * A message; `data` is good until the callback returns.
     */
    void (*on_message)(uint32_t client_id, const void *data, uint32_t size, void *user_data);
    /**
     * Something failed; shm_last_error_message says what. SHM_NO_CLIENT: it concerns no client.
     */
    void (*on_error)(uint32_t client_id, enum shm_error_t error, void *user_data);
    /**
     * Handed to each of them. Must be good for their threads.
     */
    void *user_data;
} shm_multi_callbacks_t;

/**
 * How a client of a server for many clients behaves. Get one from shm_multi_client_options_default, and change it.
 */
typedef struct shm_multi_client_options_t {
    /**
     * How long connecting waits for the server, and to be accepted: 5000.
     */
    uint32_t lobby_timeout_ms;
    /**
     * How long it waits then until the server has called on_client_connect: 5000.
     */
    uint32_t slot_timeout_ms;
    /**
     * An upper bound of one kernel wait. 0: none.
     */
    uint32_t poll_timeout_ms;
    /**
     * Messages that are handed over before the worker looks after anything else: 64. 0 counts as 1.
     */
    uint32_t recv_batch;
} shm_multi_client_options_t;

/**
 * What a client of a server for many clients calls, on its worker thread, one at a time. Any of them may be NULL, may call
 * any function of this library, and may end the client.
 */
typedef struct shm_multi_client_callbacks_t {
    /**
     * Connected, with that slot.
     */
    void (*on_connect)(uint32_t slot_id, void *user_data);
    /**
     * It is over; shm_last_error says how it ended.
     */
    void (*on_disconnect)(void *user_data);
    /**
     * A message; `data` is good until the callback returns.
     */
    void (*on_message)(const void *data, uint32_t size, void *user_data);
    /**
     * Something failed; shm_last_error_message says what.
     */
    void (*on_error)(enum shm_error_t error, void *user_data);
    /**
     * Handed to each of them. Must be good for their threads.
     */
    void *user_data;
} shm_multi_client_callbacks_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Why this thread's last call that failed did. SHM_SUCCESS: none has. A call that succeeds doesn't change it. In
 * on_disconnect and on_client_disconnect: how the connection ended: SHM_ERROR_NOT_CONNECTED, the peer left;
 * SHM_ERROR_PEER_DIED; SHM_ERROR_INTERRUPTED, this side ended it; or another error. Any thread.
 */
enum shm_error_t shm_last_error(void);

/**
 * As shm_last_error, in words that say what was wrong with what, in English.
 *
 * Copies at most `size` bytes into `buffer`, a NUL included; returns the length of the whole text without the NUL, 0
 * when no call has failed. `buffer` may be NULL. Any thread.
 */
uint32_t shm_last_error_message(char *buffer, uint32_t size);

/**
 * What a code means, in English. Never NULL; the text is the library's and lives for ever. Any thread. Takes any
 * number.
 */
const char *shm_error_string(int32_t code);

/**
 * The library's version, as XSHM_VERSION has it: 65536 * major + 256 * minor + patch. Any thread.
 */
uint32_t xshm_version(void);

/**
 * The defaults. Any thread.
 */
struct shm_options_t shm_options_default(void);

/**
 * Starts a server under a name. `callbacks` may be NULL; they are copied.
 *
 * NULL on failure; shm_last_error says why: SHM_ERROR_EXISTS, _INVALID_NAME, _INVALID_PARAM, _ACCESS, _MEMORY, _SYSTEM.
 * The handle is the caller's, to be given back to shm_server_stop. Any thread.
 */
struct ServerHandle *shm_server_start(const struct shm_endpoint_config_t *config,
                                      const struct shm_callbacks_t *callbacks);

/**
 * As shm_server_start, with options, which may be NULL.
 */
struct ServerHandle *shm_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                   const struct shm_callbacks_t *callbacks,
                                                   const struct shm_options_t *options);

/**
 * Starts a server without a name, whose section the client gets in some other way, duplicated into its process, for
 * shm_client_attach. It has no events, so that a side that waits looks every millisecond, unless shm_options_t.anonymous_events
 * asks for some; then the client gets them too, see shm_server_client_handles. `buffer_bytes` as in shm_endpoint_config_t;
 * `callbacks` and `options` may be NULL.
 *
 * NULL on failure; shm_last_error says why: SHM_ERROR_INVALID_PARAM, _MEMORY, _SYSTEM. Any thread.
 */
struct ServerHandle *shm_server_start_anonymous(uint32_t buffer_bytes,
                                                const struct shm_callbacks_t *callbacks,
                                                const struct shm_options_t *options);

/**
 * Waits for a client, at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 looks once. The session begins with
 * empty queues. Until then other threads can receive what the client before left; after that it is discarded, and on_overflow
 * is called with the number of these messages.
 *
 * SHM_ERROR_TIMEOUT, _INTERRUPTED, _ALREADY_CONNECTED (the present client lives), _REFUSED, _SYSTEM, _INVALID_PARAM. Any
 * thread; callers wait for each other.
 */
enum shm_error_t shm_server_wait_for_client(struct ServerHandle *handle,
                                            uint32_t timeout_ms);

/**
 * As shm_server_wait_for_client, for a client that doesn't signal its request: looks into the section every
 * millisecond.
 */
enum shm_error_t shm_server_wait_for_client_noevent(struct ServerHandle *handle, uint32_t timeout_ms);

/**
 * Ends the session with the present client, which receives what was sent before it learns of the end. A server with a name
 * accepts the next client at once, unless handles of its channel were given out; other servers when this client has let go of
 * the section. SHM_ERROR_NOT_CONNECTED: there was no session yet. Any thread.
 */
enum shm_error_t shm_server_disconnect_client(struct ServerHandle *handle);

/**
 * Sends a message of 2 to 65,535 bytes. Never waits: a full queue evicts its oldest messages, and on_overflow is called with their
 * number.
 *
 * SHM_ERROR_NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _PROTOCOL, _INVALID_PARAM; _FULL where the
 * server's options reject. Any thread, also while another one receives; senders wait for each other.
 */
enum shm_error_t shm_server_send(struct ServerHandle *handle,
                                 const void *data,
                                 uint32_t size);

/**
 * As shm_server_send, if there is room; evicts nothing. SHM_ERROR_FULL: there is none, and the queue is as it was.
 */
enum shm_error_t shm_server_try_send(struct ServerHandle *handle, const void *data, uint32_t size);

/**
 * As shm_server_send, waiting for room: at most `timeout_ms` milliseconds, SHM_FOREVER, or 0, which looks once. Evicts nothing.
 * SHM_ERROR_TIMEOUT, _INTERRUPTED.
 */
enum shm_error_t shm_server_send_timeout(struct ServerHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * Waits for a message and copies it into `buffer`. `*size` is the buffer's size before and the message's after.
 *
 * SHM_ERROR_BUFFER_TOO_SMALL: `*size` is what is needed, and the message stays in the queue. _NOT_CONNECTED,
 * _PEER_DIED: the peer is gone, and all that it sent was received. _INTERRUPTED, _PROTOCOL, _INVALID_PARAM; _TIMEOUT or
 * _EMPTY where the options bound the wait. Any thread, also while another one sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive(struct ServerHandle *handle, void *buffer, uint32_t *size);

/**
 * As shm_server_receive, without waiting. SHM_ERROR_EMPTY: there is no message.
 */
enum shm_error_t shm_server_try_receive(struct ServerHandle *handle, void *buffer, uint32_t *size);

/**
 * As shm_server_receive, waiting at most `timeout_ms` milliseconds; SHM_FOREVER waits for ever, 0 looks once.
 * SHM_ERROR_TIMEOUT.
 */
enum shm_error_t shm_server_receive_timeout(struct ServerHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * Waits until a message is there, and leaves it there: SHM_SUCCESS. None came in time: SHM_ERROR_TIMEOUT, and
 * SHM_ERROR_EMPTY where the time is 0. SHM_FOREVER waits for ever. Else as shm_server_receive.
 */
enum shm_error_t shm_server_poll(struct ServerHandle *handle, uint32_t timeout_ms);

/**
 * Whether the peer is there: asks the system whether its process still runs. NULL: false. Any thread.
 */
bool shm_server_is_connected(const struct ServerHandle *handle);

/**
 * The peer: its process id (what it says itself; on Linux, of a server that has a name, what the kernel says of
 * either side), and its user: a SID as text, on Linux a number. A client's peer is the owner of the section, which is proof
 * of who made it; empty where the system doesn't say.
 *
 * `process_id` and `user` may be NULL; the text is cut off at `user_size` bytes, the NUL included, of which 256 are
 * always enough. SHM_ERROR_NOT_CONNECTED: there was no peer yet. Any thread.
 */
enum shm_error_t shm_server_peer(const struct ServerHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * The session's figures. Waits while another thread waits in a call to send or to receive. SHM_ERROR_NOT_CONNECTED: there
 * was no session yet.
 */
enum shm_error_t shm_server_stats(const struct ServerHandle *handle,
                                  struct shm_stats_t *out);

/**
 * Makes the calls that wait return SHM_ERROR_INTERRUPTED, and those to come, until shm_server_resume. What doesn't need to
 * wait goes on working. Any thread.
 */
enum shm_error_t shm_server_interrupt(const struct ServerHandle *handle);

/**
 * Calls may wait again. Any thread.
 */
enum shm_error_t shm_server_resume(const struct ServerHandle *handle);

/**
 * The channel's data events, for native waiters and drivers. They stay the library's: duplicate them to hand them on. From
 * this call on every message is signalled, and one client after the other uses the same section: each can read what the one
 * before left there. False: `handle` or `out` is NULL, or the server has no name and no events; or, with SHM_ERROR_NOT_READY,
 * a message is reserved or borrowed in place and has to be committed or released first. Any thread.
 */
bool shm_server_get_event_handles(struct ServerHandle *handle,
                                  struct shm_event_handles_t *out);

/**
 * All that the client's end of this channel needs, for a driver or another process that connects without the name
 * (shm_client_attach_handles, xshm_driver.h). On Windows the handles have the rights that a client needs, and no others. They stay
 * the library's, and open as long as the server: duplicate them into the other process.
 *
 * From this call on, one client after the other uses the same section. SHM_ERROR_INVALID_PARAM, _SYSTEM (the process can have
 * no more handles), _NOT_READY (a message is reserved or borrowed in place and has to be committed or released first): all of
 * `out` is -1. Any thread.
 */
enum shm_error_t shm_server_client_handles(const struct ServerHandle *handle,
                                           struct shm_client_handles_t *out);

/**
 * The section's handle, on Linux its descriptor, to be duplicated into a client's process or handed to a driver. It stays
 * the library's. From this call on, one client after the other uses the same section. 0: `handle` is NULL; or, with
 * SHM_ERROR_NOT_READY, a message is reserved or borrowed in place and has to be committed or released first. Any thread.
 */
intptr_t shm_server_section_handle(const struct ServerHandle *handle);

/**
 * Sends `count` messages, in order, each as shm_server_send does. A sleeping peer is woken with the first few. `sent`
 * may be NULL; it gets the number of messages sent, from the first on.
 *
 * SHM_ERROR_FULL, where the server's options reject: not all of them found room. The codes of shm_server_send otherwise; if a
 * size is impossible, none was sent. Any thread, also while another one receives; senders wait for each other.
 */
enum shm_error_t shm_server_send_batch(struct ServerHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * As shm_server_send_batch, for as long as there is room; evicts nothing. SHM_ERROR_FULL: not all of them found room.
 */
enum shm_error_t shm_server_try_send_batch(struct ServerHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and takes it and as many more as are there and have
 * room: at most `*count` of them, of `size` bytes together. They stand in `buffer` one behind the other; `messages` says where
 * each of them begins, and `*count` how many there are, 0 on any failure.
 *
 * SHM_ERROR_BUFFER_TOO_SMALL: the first alone is longer than the buffer; with 65,535 bytes that can't be. The codes of
 * shm_server_receive_timeout otherwise. Any thread, also while another one sends; receivers wait for each other.
 */
enum shm_error_t shm_server_receive_batch(struct ServerHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * Finds a place for a message of `size` bytes in shared memory, to be written there and then sent by shm_server_commit. Never
 * waits: a full queue evicts its oldest messages. `*data` is the place, aligned to 8, NULL on any failure.
 *
 * Nothing is sent before the commit, and nothing has to be undone where there is none: the next message sent takes the place
 * away. So one thread sends. The peer has the memory too: what is read back from there is as true as the peer is honest.
 * The address is good until the commit, the next reserve, or the end of the handle. It stays good when the session ends, and
 * leads to no other one. The codes of shm_server_send.
 */
enum shm_error_t shm_server_reserve(struct ServerHandle *handle,
                                    uint32_t size,
                                    void **data);

/**
 * Sends the message that was written to the place from shm_server_reserve.
 *
 * SHM_ERROR_INVALID_PARAM: nothing is reserved, or another message was sent since, or the session has ended for which it was
 * reserved. The codes of shm_server_send otherwise.
 */
enum shm_error_t shm_server_commit(struct ServerHandle *handle);

/**
 * Waits for a message, at most `timeout_ms` milliseconds or SHM_FOREVER, and says where it lies in shared memory: no copy is made.
 * It stays in the queue until shm_server_release, and the sender does not overwrite it. For trusted peers: one that breaks the rules
 * changes it while it is read. Only where the server's options reject when full.
 *
 * SHM_ERROR_INVALID_PARAM: the channel evicts. The codes of shm_server_receive_timeout otherwise. `*data` is NULL and `*size`
 * 0 on any failure. One thread receives. The address is good until the release, the next borrow, or the end of the handle. It
 * stays good when the session ends, and leads to no other one.
 */
enum shm_error_t shm_server_borrow(struct ServerHandle *handle,
                                   const void **data,
                                   uint32_t *size,
                                   uint32_t timeout_ms);

/**
 * Takes the message from shm_server_borrow out of the queue. Its address is not to be used any more.
 *
 * SHM_ERROR_INVALID_PARAM: nothing is borrowed, or it was received since, or its session has ended and another one has begun.
 * SHM_ERROR_PROTOCOL, _NOT_CONNECTED.
 */
enum shm_error_t shm_server_release(struct ServerHandle *handle);

/**
 * Stops the server and frees the handle, which must not be used afterwards. NULL does nothing.
 *
 * The client receives what was sent, and learns that the server has left. Calls that other threads are inside of return
 * first: SHM_ERROR_INTERRUPTED, or SHM_ERROR_NOT_CONNECTED, which calls on_disconnect there. Their threads cannot see by the
 * code that the handle is gone: have them end before (a flag of the program's own, shm_server_interrupt, and a join). This one
 * calls no callback, and none begins after it has returned: user_data may be freed then. From inside a callback of this handle it waits for the calls of other threads alone; that
 * callback is the last, and the handle is freed when the call that it is in returns. From a callback of another handle it waits
 * too, unless a callback of this one waits for the end of that other handle: that callback is still running then.
 */
void shm_server_stop(struct ServerHandle *handle);

/**
 * Connects to the server of that name: waits for it to come, for the client before to leave, and for the server to
 * accept, `timeout_ms` milliseconds in all; SHM_FOREVER waits for ever. `callbacks` may be NULL; they are copied.
 *
 * NULL on failure; shm_last_error says why: SHM_ERROR_TIMEOUT, _ALREADY_CONNECTED, _REFUSED, _INCOMPATIBLE, _INVALID_NAME,
 * _INVALID_PARAM, _MEMORY, _SYSTEM. The handle is the caller's, to be given back to shm_client_disconnect. Any thread.
 */
struct ClientHandle *shm_client_connect(const struct shm_endpoint_config_t *config,
                                        const struct shm_callbacks_t *callbacks,
                                        uint32_t timeout_ms);

/**
 * As shm_client_connect, with options, which may be NULL.
 */
struct ClientHandle *shm_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                     const struct shm_callbacks_t *callbacks,
                                                     const struct shm_options_t *options,
                                                     uint32_t timeout_ms);

/**
 * Connects to a server without a name, whose section this process has a handle to (on Linux a descriptor), which is
 * duplicated and stays the caller's. Else as shm_client_connect_with_options; whose server it is, is not asked.
 */
struct ClientHandle *shm_client_attach(intptr_t section_handle,
                                       const struct shm_callbacks_t *callbacks,
                                       const struct shm_options_t *options,
                                       uint32_t timeout_ms);

/**
 * Connects to a server by what its shm_server_client_handles gave out, duplicated into this process. The handles are
 * duplicated once more, and stay the caller's. Else as shm_client_attach.
 */
struct ClientHandle *shm_client_attach_handles(const struct shm_client_handles_t *handles,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_options_t *options,
                                               uint32_t timeout_ms);

/**
 * As shm_server_send, for a client.
 */
enum shm_error_t shm_client_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_server_try_send, for a client.
 */
enum shm_error_t shm_client_try_send(struct ClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_server_send_timeout, for a client.
 */
enum shm_error_t shm_client_send_timeout(struct ClientHandle *handle,
                                         const void *data,
                                         uint32_t size,
                                         uint32_t timeout_ms);

/**
 * As shm_server_receive, for a client.
 */
enum shm_error_t shm_client_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * As shm_server_try_receive, for a client.
 */
enum shm_error_t shm_client_try_receive(struct ClientHandle *handle, void *buffer, uint32_t *size);

/**
 * As shm_server_receive_timeout, for a client.
 */
enum shm_error_t shm_client_receive_timeout(struct ClientHandle *handle,
                                            void *buffer,
                                            uint32_t *size,
                                            uint32_t timeout_ms);

/**
 * As shm_server_poll, for a client.
 */
enum shm_error_t shm_client_poll(struct ClientHandle *handle, uint32_t timeout_ms);

/**
 * As shm_server_is_connected, for a client.
 */
bool shm_client_is_connected(const struct ClientHandle *handle);

/**
 * As shm_server_peer, for a client.
 */
enum shm_error_t shm_client_peer(const struct ClientHandle *handle,
                                 uint32_t *process_id,
                                 char *user,
                                 uint32_t user_size);

/**
 * As shm_server_stats, for a client.
 */
enum shm_error_t shm_client_stats(const struct ClientHandle *handle, struct shm_stats_t *out);

/**
 * As shm_server_interrupt, for a client.
 */
enum shm_error_t shm_client_interrupt(const struct ClientHandle *handle);

/**
 * As shm_server_resume, for a client.
 */
enum shm_error_t shm_client_resume(const struct ClientHandle *handle);

/**
 * As shm_server_send_batch, for a client.
 */
enum shm_error_t shm_client_send_batch(struct ClientHandle *handle,
                                       const struct shm_message_t *messages,
                                       uint32_t count,
                                       uint32_t *sent);

/**
 * As shm_server_try_send_batch, for a client.
 */
enum shm_error_t shm_client_try_send_batch(struct ClientHandle *handle,
                                           const struct shm_message_t *messages,
                                           uint32_t count,
                                           uint32_t *sent);

/**
 * As shm_server_receive_batch, for a client.
 */
enum shm_error_t shm_client_receive_batch(struct ClientHandle *handle,
                                          void *buffer,
                                          uint32_t size,
                                          struct shm_message_t *messages,
                                          uint32_t *count,
                                          uint32_t timeout_ms);

/**
 * As shm_server_reserve, for a client.
 */
enum shm_error_t shm_client_reserve(struct ClientHandle *handle, uint32_t size, void **data);

/**
 * As shm_server_commit, for a client.
 */
enum shm_error_t shm_client_commit(struct ClientHandle *handle);

/**
 * As shm_server_borrow, for a client.
 */
enum shm_error_t shm_client_borrow(struct ClientHandle *handle, const void **data, uint32_t *size, uint32_t timeout_ms);

/**
 * As shm_server_release, for a client.
 */
enum shm_error_t shm_client_release(struct ClientHandle *handle);

/**
 * As shm_server_stop, for a client: leaves the server, which receives what was sent, and frees the handle.
 */
void shm_client_disconnect(struct ClientHandle *handle);

/**
 * The defaults. Any thread.
 */
struct shm_auto_options_t shm_auto_options_default(void);

/**
 * Starts a server that works in the background: it takes clients, one after the other, and hands over what they send to
 * on_message, all on a worker thread of its own. Returns at once. `callbacks` and `options` may be NULL.
 *
 * NULL on failure; shm_last_error says why, as after shm_server_start. The handle is the caller's, to be given back to
 * shm_server_stop_auto. Any thread.
 */
struct AutoServerHandle *shm_server_start_auto(const struct shm_endpoint_config_t *config,
                                               const struct shm_callbacks_t *callbacks,
                                               const struct shm_auto_options_t *options);

/**
 * As shm_server_start_auto, with options of the channel, which may be NULL.
 */
struct AutoServerHandle *shm_server_start_auto_with_options(const struct shm_endpoint_config_t *config,
                                                            const struct shm_callbacks_t *callbacks,
                                                            const struct shm_auto_options_t *options,
                                                            const struct shm_options_t *channel_options);

/**
 * Sends a message. With a connection it goes into the ring at once, and evicts the oldest where there is no room; without
 * one it waits in the send queue. Messages that are lost are reported to on_overflow. Never waits.
 *
 * SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE, _NOT_CONNECTED (stopped, or without a connection and without a queue),
 * _FULL where the server's options reject, _INVALID_PARAM. Any thread.
 */
enum shm_error_t shm_server_send_auto(struct AutoServerHandle *handle,
                                      const void *data,
                                      uint32_t size);

/**
 * As shm_server_send_auto, if there is room: nothing is evicted or dropped for it. SHM_ERROR_FULL: there is none; when there
 * is again, on_space_available is called.
 */
enum shm_error_t shm_server_try_send_auto(struct AutoServerHandle *handle,
                                          const void *data,
                                          uint32_t size);

/**
 * As shm_server_try_send_auto, waiting for room: at most `timeout_ms` milliseconds, or SHM_FOREVER. SHM_ERROR_TIMEOUT. From
 * inside a callback of this handle it waits too: the peer must make the room without an answer to anything meanwhile. Without
 * a connection it fails at once there, with SHM_ERROR_FULL where the queue has no room.
 */
enum shm_error_t shm_server_send_timeout_auto(struct AutoServerHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * The endpoint's figures. False: `handle` or `out` is NULL. Any thread.
 */
bool shm_server_stats_auto(const struct AutoServerHandle *handle, struct shm_auto_stats_t *out);

/**
 * Hands over what has arrived, sends what is queued as far as it fits, ends the connection, waits for the worker's end and
 * frees the handle, which must not be used afterwards. NULL does nothing.
 *
 * No callback begins after this has returned, so that what user_data points to may be freed then. From inside a callback of
 * this handle it returns at once, and that callback is the last; the worker ends after it, and the handle is freed then. From
 * a callback of another handle it waits too, unless a callback of this one waits for the end of that other handle:
 * that callback is still running then.
 */
void shm_server_stop_auto(struct AutoServerHandle *handle);

/**
 * The present session: its client, and no client after it. 0: there is none; NULL: 0. Any thread.
 */
uint64_t shm_server_session_auto(const struct AutoServerHandle *handle);

/**
 * As shm_server_send_auto, to the client of that session alone: for an answer that takes longer than a callback.
 * SHM_ERROR_NOT_CONNECTED: the session is over.
 */
enum shm_error_t shm_server_send_to_session_auto(struct AutoServerHandle *handle,
                                                 uint64_t session,
                                                 const void *data,
                                                 uint32_t size);

/**
 * Begins to stop, and waits for nothing; the handle stays the caller's, to be given back to shm_server_stop_auto. What has arrived is
 * handed over, and on_disconnect comes last, where there is a connection. Any thread, a callback too: so a callback can end its own handle and have another
 * thread free it. In a fork it does nothing and returns SHM_SUCCESS.
 */
enum shm_error_t shm_server_request_stop_auto(struct AutoServerHandle *handle);

/**
 * As shm_server_stop_auto, waiting at most `timeout_ms` milliseconds. SHM_SUCCESS: it has ended, and the handle is freed. After any other code
 * the handle is still the caller's: SHM_ERROR_TIMEOUT, it has not ended yet, and will; SHM_ERROR_NOT_READY, a callback
 * called this that cannot wait for it, as said at shm_server_stop_auto.
 */
enum shm_error_t shm_server_stop_timeout_auto(struct AutoServerHandle *handle,
                                              uint32_t timeout_ms);

/**
 * Connects in the background, and again whenever the connection is lost, and hands over what the server sends to
 * on_message, all on a worker thread of its own. Returns at once: on_connect says when there is a connection. `callbacks`
 * and `options` may be NULL.
 *
 * NULL on failure; shm_last_error says why: SHM_ERROR_INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The handle is the
 * caller's, to be given back to shm_client_disconnect_auto. Any thread.
 */
struct AutoClientHandle *shm_client_connect_auto(const struct shm_endpoint_config_t *config,
                                                 const struct shm_callbacks_t *callbacks,
                                                 const struct shm_auto_options_t *options);

/**
 * As shm_client_connect_auto, with options of the channel, which may be NULL.
 */
struct AutoClientHandle *shm_client_connect_auto_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_callbacks_t *callbacks,
                                                              const struct shm_auto_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * As shm_server_send_auto, for a client.
 */
enum shm_error_t shm_client_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_server_try_send_auto, for a client.
 */
enum shm_error_t shm_client_try_send_auto(struct AutoClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_server_send_timeout_auto, for a client.
 */
enum shm_error_t shm_client_send_timeout_auto(struct AutoClientHandle *handle,
                                              const void *data,
                                              uint32_t size,
                                              uint32_t timeout_ms);

/**
 * As shm_server_stats_auto, for a client.
 */
bool shm_client_stats_auto(const struct AutoClientHandle *handle, struct shm_auto_stats_t *out);

/**
 * As shm_server_stop_auto, for a client.
 */
void shm_client_disconnect_auto(struct AutoClientHandle *handle);

/**
 * As shm_server_request_stop_auto, for a client, whose handle goes to shm_client_disconnect_auto.
 */
enum shm_error_t shm_client_request_disconnect_auto(struct AutoClientHandle *handle);

/**
 * As shm_server_stop_timeout_auto, for a client.
 */
enum shm_error_t shm_client_disconnect_timeout_auto(struct AutoClientHandle *handle, uint32_t timeout_ms);

/**
 * The defaults. Any thread.
 */
struct shm_multi_options_t shm_multi_options_default(void);

/**
 * No callbacks: all are NULL. Any thread.
 */
struct shm_multi_callbacks_t shm_multi_callbacks_default(void);

/**
 * Starts a server for many clients under a name. It works on threads of its own. `callbacks` and `options` may be NULL.
 *
 * NULL on failure; shm_last_error says why, as after shm_server_start. The handle is the caller's, to be given back to
 * shm_multi_server_stop. Any thread.
 */
struct MultiServerHandle *shm_multi_server_start(const char *name,
                                                 const struct shm_multi_callbacks_t *callbacks,
                                                 const struct shm_multi_options_t *options);

/**
 * As shm_multi_server_start, with the size of each client's rings, and options of each client's channel, which may be NULL.
 */
struct MultiServerHandle *shm_multi_server_start_with_options(const struct shm_endpoint_config_t *config,
                                                              const struct shm_multi_callbacks_t *callbacks,
                                                              const struct shm_multi_options_t *options,
                                                              const struct shm_options_t *channel_options);

/**
 * Sends a message to a client. Never waits: a full queue evicts its oldest messages.
 *
 * SHM_ERROR_NOT_FOUND: the slot has no client. _NOT_CONNECTED, _PEER_DIED, _MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE,
 * _PROTOCOL, _FULL where the options reject. Any thread.
 */
enum shm_error_t shm_multi_server_send_to(struct MultiServerHandle *handle,
                                          uint32_t client_id,
                                          const void *data,
                                          uint32_t size);

/**
 * As shm_multi_server_send_to, if there is room. SHM_ERROR_FULL: there is none, and the queue is as it was.
 */
enum shm_error_t shm_multi_server_try_send_to(struct MultiServerHandle *handle,
                                              uint32_t client_id,
                                              const void *data,
                                              uint32_t size);

/**
 * Sends a message to every client; to how many is stored in `*sent`, which may be NULL. One that fails costs the others
 * nothing. SHM_ERROR_MESSAGE_TOO_SMALL, _MESSAGE_TOO_LARGE. Any thread.
 */
enum shm_error_t shm_multi_server_broadcast(struct MultiServerHandle *handle,
                                            const void *data,
                                            uint32_t size,
                                            uint32_t *sent);

/**
 * The session of the client that has a slot: it, and no client after it. 0: the slot has none; NULL: 0. Inside a callback
 * for a slot, on_client_disconnect included, it is that client's. Any thread.
 */
uint64_t shm_multi_server_session(const struct MultiServerHandle *handle,
                                  uint32_t client_id);

/**
 * As shm_multi_server_send_to, to the client of that session alone: for an answer that takes longer than a callback, so that
 * it reaches no other client. SHM_ERROR_NOT_CONNECTED: the session is over.
 */
enum shm_error_t shm_multi_server_send_to_session(struct MultiServerHandle *handle,
                                                  uint64_t session,
                                                  const void *data,
                                                  uint32_t size);

/**
 * As shm_multi_server_send_to_session, if there is room. SHM_ERROR_FULL: there is none, and the queue is as it was.
 */
enum shm_error_t shm_multi_server_try_send_to_session(struct MultiServerHandle *handle,
                                                      uint64_t session,
                                                      const void *data,
                                                      uint32_t size);

/**
 * As shm_multi_server_disconnect_client, of that session alone. SHM_ERROR_NOT_CONNECTED: it is over.
 */
enum shm_error_t shm_multi_server_disconnect_session(struct MultiServerHandle *handle, uint64_t session);

/**
 * Ends a client's session. It receives first what it was sent, on_message what it has sent. SHM_ERROR_NOT_FOUND: the slot
 * has no client. Any thread.
 */
enum shm_error_t shm_multi_server_disconnect_client(struct MultiServerHandle *handle,
                                                    uint32_t client_id);

/**
 * How many clients there are. Any thread.
 */
uint32_t shm_multi_server_client_count(const struct MultiServerHandle *handle);

/**
 * Whether a slot has a client. Any thread.
 */
bool shm_multi_server_is_client_connected(const struct MultiServerHandle *handle, uint32_t client_id);

/**
 * Stores the slots that have a client into `ids`, at most `max` of them, in order, and how many there are into `*actual`,
 * which may be more. `ids` may be NULL where `max` is 0, `actual` always. SHM_ERROR_BUFFER_TOO_SMALL: there are more than
 * `max`, of which the first were stored. Any thread.
 */
enum shm_error_t shm_multi_server_get_clients(const struct MultiServerHandle *handle,
                                              uint32_t *ids,
                                              uint32_t max,
                                              uint32_t *actual);

/**
 * What to call a slot's channel in a log. Copies at most `size` bytes into `buffer`, a NUL included; returns the length of
 * the whole text without the NUL, 0 when there is no such slot. `buffer` may be NULL. Any thread.
 */
uint32_t shm_multi_server_channel_name(const struct MultiServerHandle *handle,
                                       uint32_t slot,
                                       char *buffer,
                                       uint32_t size);

/**
 * Hands over what has arrived, ends all sessions, waits for the server's threads and frees the handle, which must not be used
 * afterwards. NULL does nothing.
 *
 * No callback begins after this has returned, so that what user_data points to may be freed then. From inside a callback of
 * this handle it waits for the callbacks that other threads of the server are in, and no longer: that callback is the last;
 * the threads end after it, and the handle is freed then. From a callback of another handle it waits too, unless a
 * callback of this one waits for the end of that other handle: that callback is still running then.
 */
void shm_multi_server_stop(struct MultiServerHandle *handle);

/**
 * Begins to stop, and waits for nothing; the handle stays the caller's, to be given back to shm_multi_server_stop. What has arrived is
 * handed over, and on_client_disconnect comes last. Any thread, a callback too: so a callback can end its own handle and have another
 * thread free it. In a fork it does nothing and returns SHM_SUCCESS.
 */
enum shm_error_t shm_multi_server_request_stop(struct MultiServerHandle *handle);

/**
 * As shm_multi_server_stop, waiting at most `timeout_ms` milliseconds. SHM_SUCCESS: it has ended, and the handle is freed. After any other code
 * the handle is still the caller's: SHM_ERROR_TIMEOUT, it has not ended yet, and will; SHM_ERROR_NOT_READY, a callback
 * called this that cannot wait for it, as said at shm_multi_server_stop.
 */
enum shm_error_t shm_multi_server_stop_timeout(struct MultiServerHandle *handle,
                                               uint32_t timeout_ms);

/**
 * The defaults. Any thread.
 */
struct shm_multi_client_options_t shm_multi_client_options_default(void);

/**
 * No callbacks: all are NULL. Any thread.
 */
struct shm_multi_client_callbacks_t shm_multi_client_callbacks_default(void);

/**
 * Connects to a server for many clients, and returns when that has given it a slot. From then on it works on its own
 * thread. It doesn't connect again by itself. `callbacks` and `options` may be NULL.
 *
 * NULL on failure; shm_last_error says why: SHM_ERROR_TIMEOUT, _NO_SLOT, _ALREADY_CONNECTED, _REFUSED, _INCOMPATIBLE,
 * _INVALID_NAME, _INVALID_PARAM, _MEMORY, _SYSTEM. The handle is the caller's, to be given back to
 * shm_multi_client_disconnect. Any thread.
 */
struct MultiClientHandle *shm_multi_client_connect(const char *name,
                                                   const struct shm_multi_client_callbacks_t *callbacks,
                                                   const struct shm_multi_client_options_t *options);

/**
 * As shm_multi_client_connect, with a size of the rings to demand, and options of the channel, which may be NULL.
 */
struct MultiClientHandle *shm_multi_client_connect_with_options(const struct shm_endpoint_config_t *config,
                                                                const struct shm_multi_client_callbacks_t *callbacks,
                                                                const struct shm_multi_client_options_t *options,
                                                                const struct shm_options_t *channel_options);

/**
 * Sends a message. Never waits: a full queue evicts its oldest messages. SHM_ERROR_NOT_CONNECTED, _MESSAGE_TOO_SMALL,
 * _MESSAGE_TOO_LARGE, _FULL where the server's options reject. Any thread.
 */
enum shm_error_t shm_multi_client_send(struct MultiClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_multi_client_send, if there is room. SHM_ERROR_FULL: there is none, and the queue is as it was.
 */
enum shm_error_t shm_multi_client_try_send(struct MultiClientHandle *handle, const void *data, uint32_t size);

/**
 * As shm_multi_client_try_send, waiting for room: at most `timeout_ms` milliseconds, or SHM_FOREVER. SHM_ERROR_TIMEOUT. From
 * inside a callback of this handle it waits too: the server must make the room without an answer to anything meanwhile.
 */
enum shm_error_t shm_multi_client_send_timeout(struct MultiClientHandle *handle,
                                               const void *data,
                                               uint32_t size,
                                               uint32_t timeout_ms);

/**
 * The client's slot at the server. NULL: SHM_NO_CLIENT. Any thread.
 */
uint32_t shm_multi_client_slot_id(const struct MultiClientHandle *handle);

/**
 * Whether the client is connected still. Any thread.
 */
bool shm_multi_client_is_connected(const struct MultiClientHandle *handle);

/**
 * As shm_multi_server_stop, for a client: leaves the server.
 */
void shm_multi_client_disconnect(struct MultiClientHandle *handle);

/**
 * As shm_multi_server_request_stop, for a client, whose handle goes to shm_multi_client_disconnect.
 */
enum shm_error_t shm_multi_client_request_disconnect(struct MultiClientHandle *handle);

/**
 * As shm_multi_server_stop_timeout, for a client.
 */
enum shm_error_t shm_multi_client_disconnect_timeout(struct MultiClientHandle *handle, uint32_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* XSHM_H */

#include "xshm_server.h"
#include "xshm_client.h"
