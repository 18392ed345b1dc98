/*
 * Forks of a process whose threads are inside calls and callbacks: what the child can and cannot do with its copies of the
 * handles, and that the parent's sessions stay as they are. Exits with 0, or prints the check that failed. A child that hangs
 * is ended by its alarm.
 *   forks            all checks
 *   forks briefly    fewer repetitions
 */
#include "xshm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "platform.h"

static unsigned checks;
static const char *situation = "";

#define CHECK(condition)                                                                                             \
    do {                                                                                                             \
        char why_[256] = "";                                                                                         \
        ADD(checks);                                                                                                 \
        if (!(condition)) {                                                                                          \
            shm_last_error_message(why_, sizeof why_);                                                               \
            fprintf(stderr, "%s:%d: %s (%s); last error %d: %s\n", __FILE__, __LINE__, #condition, situation,        \
                    shm_last_error(), why_);                                                                         \
            _exit(1);                                                                                                \
        }                                                                                                            \
    } while (0)

/* A child that runs longer than this hangs. */
enum { CHILD_SECONDS = 20 };

static shm_endpoint_config_t config_for(char name[64], const char *what)
{
    static unsigned count;
    snprintf(name, 64, "xshm.forks.%u.%u.%s", own_pid(), ADD(count), what);
    return xshm_server_config(name);
}

static bool comes(const volatile unsigned *count, unsigned at_least)
{
    unsigned waited;
    for (waited = 0; waited < 20000 && *count < at_least; waited++) pause_ms(1);
    return *count >= at_least;
}

/* ------------------------------------------------------------------------------------------------------- the handles */

/* What the callbacks have counted. The memory is shared with the children. */
struct seen {
    volatile unsigned messages; /* in the parent */
    volatile unsigned in_child; /* callbacks that began in a child */
};
static struct seen *seen;

/* Whether the next callback with a message waits until `release_callback`. */
static volatile unsigned callback_waits, callback_is_waiting;
static pid_t parent;

static void on_any_message(void)
{
    if (getpid() != parent) ADD(seen->in_child);
    ADD(seen->messages);
    if (callback_waits && __sync_bool_compare_and_swap(&callback_is_waiting, 0, 1)) {
        while (callback_waits) pause_ms(1);
        callback_is_waiting = 0;
    }
}

static void on_message(shm_direction_t way, const void *data, uint32_t size, void *user) { (void)way, (void)data, (void)size, (void)user; on_any_message(); }
static void on_data(void *user) { (void)user; on_any_message(); }
static void on_client_message(uint32_t id, const void *data, uint32_t size, void *user) { (void)id, (void)data, (void)size, (void)user; on_any_message(); }
static void on_server_message(const void *data, uint32_t size, void *user) { (void)data, (void)size, (void)user; on_any_message(); }

/* One handle of each type, connected to each other, a server without a client, and a server whose client is connecting. */
struct handles {
    char name[64], auto_name[64], multi_name[64], lone_name[64], call_name[64], awaited_name[64];
    ServerHandle *server, *lone, *awaited;
    ClientHandle *client;
    AutoServerHandle *auto_server;
    AutoClientHandle *auto_client;
    AutoServerHandle *call_server;
    CallerHandle *caller;
    PendingConnectHandle *pending;
    MultiServerHandle *multi_server;
    MultiClientHandle *multi_client;
};

static THREAD connect_client(void *with)
{
    struct handles *all = with;
    shm_endpoint_config_t config = xshm_client_config(all->name);
    shm_callbacks_t calls = xshm_client_callbacks_default();
    calls.on_data_available = on_data;
    all->client = shm_client_connect(&config, &calls, 10000);
    return THREAD_END;
}

static void start_sync(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->name, "sync");
    thread_t thread;
    CHECK(all->server = shm_server_start(&config, NULL));
    begin(&thread, connect_client, all);
    CHECK(shm_server_wait_for_client(all->server, 10000) == SHM_SUCCESS);
    join(thread);
    CHECK(all->client);
}

static void start_auto(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->auto_name, "auto");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    calls.on_message = on_message;
    CHECK(all->auto_server = shm_server_start_auto(&config, &calls, NULL));
    CHECK(all->auto_client = shm_client_connect_auto(&config, &calls, NULL));
}

static void start_multi(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->multi_name, "multi");
    shm_multi_callbacks_t calls = shm_multi_callbacks_default();
    shm_multi_client_callbacks_t client_calls = shm_multi_client_callbacks_default();
    calls.on_message = on_client_message;
    client_calls.on_message = on_server_message;
    CHECK(all->multi_server = shm_multi_server_start(config.name, &calls, NULL));
    CHECK(all->multi_client = shm_multi_client_connect(config.name, &client_calls, NULL));
}

/* Answers each call with its own bytes. */
static void on_call(shm_call_t call, const void *data, uint32_t size, void *user)
{
    struct handles *all = user;
    CHECK(shm_server_answer_auto(all->call_server, call, data, size) == SHM_SUCCESS);
}

static void keep_server(void *handle, void *user) { ((struct handles *)user)->call_server = handle; }

static void start_calls(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->call_name, "call");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    calls.user_data = all;
    calls.on_start = keep_server;
    calls.on_call = on_call;
    CHECK(shm_server_start_auto(&config, &calls, NULL) == all->call_server);
    CHECK(all->caller = shm_caller_connect(&config, NULL, 10000));
}

static void begin_to_connect(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->awaited_name, "awaited");
    ClientHandle *client;
    CHECK(all->awaited = shm_server_start(&config, NULL));
    CHECK(all->pending = shm_client_begin_connect(&config, NULL, NULL));
    CHECK(shm_pending_connect_try_finish(all->pending, &client) == SHM_SUCCESS && !client);
}

static THREAD accept_awaited(void *with)
{
    CHECK(shm_server_wait_for_client(((struct handles *)with)->awaited, 10000) == SHM_SUCCESS);
    return THREAD_END;
}

/* The forks have not withdrawn the request. */
static void connect_finishes(struct handles *all)
{
    ClientHandle *client = NULL;
    thread_t thread;
    begin(&thread, accept_awaited, all);
    for (;;) {
        shm_wait_handles_t handles;
        uint32_t next_look;
        struct pollfd object;
        CHECK(shm_pending_connect_try_finish(all->pending, &client) == SHM_SUCCESS);
        if (client) break;
        CHECK(shm_pending_connect_wait_handles(all->pending, &handles, &next_look) == SHM_SUCCESS);
        object.fd = (int)handles.data;
        object.events = POLLIN;
        CHECK(poll(&object, 1, next_look == SHM_FOREVER ? 10000 : (int)next_look) > 0 || next_look != SHM_FOREVER);
        shm_wait_handles_close(&handles);
    }
    join(thread);
    shm_client_disconnect(client);
    shm_pending_connect_free(all->pending);
    shm_server_stop(all->awaited);
}

static void start_all(struct handles *all)
{
    shm_endpoint_config_t config = config_for(all->lone_name, "lone");
    CHECK(all->lone = shm_server_start(&config, NULL));
    start_sync(all);
    start_auto(all);
    start_multi(all);
    start_calls(all);
    begin_to_connect(all);
}

static void stop_all(struct handles *all)
{
    connect_finishes(all);
    shm_client_disconnect(all->client);
    shm_server_stop(all->server);
    shm_server_stop(all->lone);
    shm_client_disconnect_auto(all->auto_client);
    shm_server_stop_auto(all->auto_server);
    shm_multi_client_disconnect(all->multi_client);
    shm_multi_server_stop(all->multi_server);
    shm_caller_disconnect(all->caller);
    shm_server_stop_auto(all->call_server);
}

/* Sends a message over each session in each direction, and sees all of them arrive. */
static void sessions_work(struct handles *all)
{
    uint8_t buffer[16];
    uint32_t size = sizeof buffer, sent = 0;
    unsigned before = seen->messages;
    CHECK(shm_server_send(all->server, "to the client", 13) == SHM_SUCCESS);
    CHECK(shm_client_receive_timeout(all->client, buffer, &size, 10000) == SHM_SUCCESS && size == 13);
    CHECK(shm_client_send(all->client, "to the server", 13) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_server_receive_timeout(all->server, buffer, &size, 10000) == SHM_SUCCESS && size == 13);
    CHECK(shm_server_send_auto(all->auto_server, "xx", 2) == SHM_SUCCESS);
    CHECK(shm_client_send_auto(all->auto_client, "xx", 2) == SHM_SUCCESS);
    CHECK(shm_multi_server_broadcast(all->multi_server, "xx", 2, &sent) == SHM_SUCCESS && sent == 1);
    CHECK(shm_multi_client_send(all->multi_client, "xx", 2) == SHM_SUCCESS);
    CHECK(comes(&seen->messages, before + 4));
    size = sizeof buffer;
    CHECK(shm_caller_call(all->caller, "call", 4, buffer, &size, 10000) == SHM_SUCCESS && size == 4);
}

/* --------------------------------------------------------------------------------------------------- in the children */

/* A call that returns a code. Before it, the last error is another one. */
#define FORKED(call)                                                                                                 \
    do {                                                                                                             \
        shm_server_send(NULL, "xx", 2);                                                                              \
        CHECK((call) == SHM_ERROR_FORKED && shm_last_error() == SHM_ERROR_FORKED);                                   \
    } while (0)

/* A call that returns a number, or whether something is so. */
#define FORKED_VALUE(call, value)                                                                                    \
    do {                                                                                                             \
        shm_server_send(NULL, "xx", 2);                                                                              \
        CHECK((call) == (value) && shm_last_error() == SHM_ERROR_FORKED);                                            \
    } while (0)

/* The functions that servers and clients have in common. */
#define SYNC_CALLS_FAIL(KIND, handle)                                                                                \
    do {                                                                                                             \
        FORKED(shm_##KIND##_send(handle, "xx", 2));                                                                  \
        FORKED(shm_##KIND##_try_send(handle, "xx", 2));                                                              \
        FORKED(shm_##KIND##_send_timeout(handle, "xx", 2, SHM_FOREVER));                                             \
        FORKED(shm_##KIND##_send_batch(handle, &message, 1, &number));                                               \
        FORKED(shm_##KIND##_try_send_batch(handle, &message, 1, &number));                                           \
        FORKED(shm_##KIND##_send_batch_timeout(handle, &message, 1, &number, SHM_FOREVER));                          \
        FORKED(shm_##KIND##_try_reserve(handle, 2, &place));                                                         \
        FORKED(shm_##KIND##_reserve_timeout(handle, 2, &place, SHM_FOREVER));                                        \
        FORKED(shm_##KIND##_wait_handles(handle, &waits));                                                           \
        FORKED(shm_##KIND##_arm(handle, &is_so));                                                                    \
        FORKED(shm_##KIND##_disarm(handle));                                                                         \
        FORKED(shm_##KIND##_room_handles(handle, &waits));                                                           \
        FORKED(shm_##KIND##_arm_room(handle, 2, &is_so));                                                            \
        FORKED(shm_##KIND##_disarm_room(handle));                                                                    \
        FORKED(shm_##KIND##_receive(handle, buffer, &size));                                                         \
        FORKED(shm_##KIND##_try_receive(handle, buffer, &size));                                                     \
        FORKED(shm_##KIND##_receive_timeout(handle, buffer, &size, SHM_FOREVER));                                    \
        FORKED((number = 1, shm_##KIND##_receive_batch(handle, buffer, size, &received, &number, SHM_FOREVER)));     \
        FORKED(shm_##KIND##_reserve(handle, 2, &place));                                                             \
        FORKED(shm_##KIND##_commit(handle));                                                                         \
        FORKED(shm_##KIND##_borrow(handle, &data, &number, SHM_FOREVER));                                            \
        FORKED(shm_##KIND##_release(handle));                                                                        \
        FORKED(shm_##KIND##_poll(handle, SHM_FOREVER));                                                              \
        FORKED_VALUE(shm_##KIND##_is_connected(handle), false);                                                      \
        FORKED_VALUE(shm_##KIND##_max_message_bytes(handle), 0);                                                     \
        FORKED(shm_##KIND##_peer(handle, &number, text, sizeof text));                                               \
        FORKED(shm_##KIND##_stats(handle, &stats));                                                                  \
        FORKED(shm_##KIND##_interrupt(handle));                                                                      \
        FORKED(shm_##KIND##_resume(handle));                                                                         \
    } while (0)

static void server_calls_fail(ServerHandle *server)
{
    uint8_t buffer[16];
    char text[16];
    void *place;
    const void *data;
    uint32_t size = sizeof buffer, number;
    shm_stats_t stats;
    shm_message_t message = {"xx", 2}, received;
    shm_event_handles_t events;
    shm_client_handles_t handles;
    shm_wait_handles_t waits;
    shm_call_t call = {1ull << 32, 1};
    bool is_so;
    SYNC_CALLS_FAIL(server, server);
    FORKED(shm_server_receive_call(server, buffer, &size, &is_so, &call, SHM_FOREVER));
    FORKED(shm_server_answer(server, call, "xx", 2));
    FORKED(shm_server_refuse(server, call));
    FORKED(shm_server_wait_for_client(server, SHM_FOREVER));
    FORKED(shm_server_wait_for_client_noevent(server, SHM_FOREVER));
    FORKED(shm_server_try_accept(server, &is_so));
    FORKED(shm_server_accept_handles(server, &waits, &number));
    FORKED(shm_server_disconnect_client(server));
    FORKED_VALUE(shm_server_get_event_handles(server, &events), false);
    FORKED(shm_server_client_handles(server, &handles));
    FORKED_VALUE(shm_server_section_handle(server), 0);
}

static void client_calls_fail(ClientHandle *client)
{
    uint8_t buffer[16];
    char text[16];
    void *place;
    const void *data;
    uint32_t size = sizeof buffer, number;
    shm_stats_t stats;
    shm_message_t message = {"xx", 2}, received;
    shm_wait_handles_t waits;
    bool is_so;
    SYNC_CALLS_FAIL(client, client);
    FORKED_VALUE(shm_client_slot_id(client), SHM_NO_CLIENT);
}

static void caller_calls_fail(CallerHandle *caller)
{
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    shm_caller_stats_t stats;
    FORKED(shm_caller_call(caller, "xx", 2, buffer, &size, SHM_FOREVER));
    FORKED(shm_caller_stats(caller, &stats));
    FORKED(shm_caller_interrupt(caller));
    FORKED(shm_caller_resume(caller));
    FORKED_VALUE(shm_caller_is_connected(caller), false);
    FORKED_VALUE(shm_caller_slot_id(caller), SHM_NO_CLIENT);
}

static void pending_connect_calls_fail(PendingConnectHandle *pending)
{
    ClientHandle *client;
    shm_wait_handles_t waits;
    uint32_t next_look;
    FORKED(shm_pending_connect_try_finish(pending, &client));
    FORKED(shm_pending_connect_wait_handles(pending, &waits, &next_look));
    FORKED(shm_pending_connect_give_up(pending));
}

static void auto_calls_fail(AutoServerHandle *server, AutoClientHandle *client)
{
    shm_auto_stats_t stats;
    shm_call_t call = {1ull << 32, 1};
    uint32_t number;
    char text[16];
    FORKED(shm_server_answer_auto(server, call, "xx", 2));
    FORKED(shm_server_refuse_auto(server, call));
    FORKED_VALUE(shm_server_is_connected_auto(server), false);
    FORKED(shm_server_peer_auto(server, &number, text, sizeof text));
    FORKED_VALUE(shm_client_is_connected_auto(client), false);
    FORKED(shm_client_peer_auto(client, &number, text, sizeof text));
    FORKED(shm_server_send_auto(server, "xx", 2));
    FORKED(shm_server_try_send_auto(server, "xx", 2));
    FORKED(shm_server_send_timeout_auto(server, "xx", 2, SHM_FOREVER));
    FORKED(shm_server_send_to_session_auto(server, 1, "xx", 2));
    FORKED_VALUE(shm_server_session_auto(server), 0);
    FORKED_VALUE(shm_server_stats_auto(server, &stats), false);
    FORKED(shm_server_request_stop_auto(server));
    FORKED(shm_server_stop_timeout_auto(server, SHM_FOREVER));
    FORKED(shm_client_send_auto(client, "xx", 2));
    FORKED(shm_client_try_send_auto(client, "xx", 2));
    FORKED(shm_client_send_timeout_auto(client, "xx", 2, SHM_FOREVER));
    FORKED_VALUE(shm_client_stats_auto(client, &stats), false);
    FORKED(shm_client_request_disconnect_auto(client));
    FORKED(shm_client_disconnect_timeout_auto(client, SHM_FOREVER));
}

static void multi_calls_fail(MultiServerHandle *server, MultiClientHandle *client)
{
    uint32_t number;
    char text[16];
    shm_call_t call = {1ull << 32, 1};
    shm_broadcast_result_t result;
    shm_client_stats_t stats;
    shm_auto_stats_t client_stats;
    FORKED(shm_multi_server_send_to_timeout(server, 0, "xx", 2, SHM_FOREVER));
    FORKED(shm_multi_server_send_to_session_timeout(server, 1ull << 32, "xx", 2, SHM_FOREVER));
    FORKED(shm_multi_server_broadcast_each(server, "xx", 2, &result, 1, &number));
    FORKED(shm_multi_server_answer(server, call, "xx", 2));
    FORKED(shm_multi_server_refuse(server, call));
    FORKED(shm_multi_server_peer(server, 1ull << 32, &number, text, sizeof text));
    FORKED(shm_multi_server_stats(server, 1ull << 32, &stats));
    FORKED(shm_multi_client_peer(client, &number, text, sizeof text));
    FORKED_VALUE(shm_multi_client_stats(client, &client_stats), false);
    FORKED(shm_multi_server_send_to(server, 0, "xx", 2));
    FORKED(shm_multi_server_try_send_to(server, 0, "xx", 2));
    FORKED(shm_multi_server_broadcast(server, "xx", 2, &number));
    FORKED(shm_multi_server_send_to_session(server, 1, "xx", 2));
    FORKED(shm_multi_server_try_send_to_session(server, 1, "xx", 2));
    FORKED(shm_multi_server_disconnect_client(server, 0));
    FORKED(shm_multi_server_disconnect_session(server, 1));
    FORKED(shm_multi_server_get_clients(server, NULL, 0, &number));
    FORKED_VALUE(shm_multi_server_session(server, 0), 0);
    FORKED_VALUE(shm_multi_server_client_count(server), 0);
    FORKED_VALUE(shm_multi_server_is_client_connected(server, 0), false);
    FORKED_VALUE(shm_multi_server_channel_name(server, 0, text, sizeof text), 0);
    FORKED(shm_multi_server_request_stop(server));
    FORKED(shm_multi_server_stop_timeout(server, SHM_FOREVER));
    FORKED(shm_multi_client_send(client, "xx", 2));
    FORKED(shm_multi_client_try_send(client, "xx", 2));
    FORKED(shm_multi_client_send_timeout(client, "xx", 2, SHM_FOREVER));
    FORKED_VALUE(shm_multi_client_slot_id(client), SHM_NO_CLIENT);
    FORKED_VALUE(shm_multi_client_is_connected(client), false);
    FORKED(shm_multi_client_request_disconnect(client));
    FORKED(shm_multi_client_disconnect_timeout(client, SHM_FOREVER));
}

/* Stops each copy. Each stop reports that this is a fork. */
static void copies_stop(struct handles *all)
{
#define STOPS(stop, handle) FORKED((stop(handle), shm_last_error()))
    STOPS(shm_client_disconnect, all->client);
    STOPS(shm_server_stop, all->server);
    STOPS(shm_server_stop, all->lone);
    STOPS(shm_client_disconnect_auto, all->auto_client);
    STOPS(shm_server_stop_auto, all->auto_server);
    STOPS(shm_multi_client_disconnect, all->multi_client);
    STOPS(shm_multi_server_stop, all->multi_server);
    STOPS(shm_caller_disconnect, all->caller);
    STOPS(shm_pending_connect_free, all->pending);
    STOPS(shm_server_stop, all->awaited);
    STOPS(shm_server_stop_auto, all->call_server);
}

static THREAD attach_handles(void *with)
{
    ServerHandle *server = with;
    shm_client_handles_t handles;
    ClientHandle *client;
    CHECK(shm_server_client_handles(server, &handles) == SHM_SUCCESS);
    CHECK(client = shm_client_attach_handles(&handles, NULL, NULL, 10000));
    CHECK(shm_client_send(client, "attached", 8) == SHM_SUCCESS);
    shm_client_disconnect(client);
    return THREAD_END;
}

/* A child can create, use and stop endpoints of its own. */
static void own_endpoints_work(void)
{
    struct handles own;
    shm_options_t options = shm_options_default();
    ServerHandle *anonymous;
    thread_t thread;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    /* Its own callbacks are not those of the copies. */
    unsigned in_child = seen->in_child;
    pid_t of = parent;
    parent = getpid();
    start_all(&own);
    sessions_work(&own);
    stop_all(&own);
    options.anonymous_events = true;
    CHECK(anonymous = shm_server_start_anonymous(0, NULL, &options));
    begin(&thread, attach_handles, anonymous);
    CHECK(shm_server_wait_for_client(anonymous, 10000) == SHM_SUCCESS);
    CHECK(shm_server_receive_timeout(anonymous, buffer, &size, 10000) == SHM_SUCCESS && size == 8);
    join(thread);
    shm_server_stop(anonymous);
    parent = of;
    CHECK(seen->in_child == in_child);
}

/* Waits for a child, which must have exited with 0. */
static void child_ends(pid_t child)
{
    int status = 0;
    CHECK(child > 0);
    while (waitpid(child, &status, 0) < 0) CHECK(errno == EINTR);
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: signal %d ended the child%s\n", situation, WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ", which hung" : "");
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Forks, and lets the child do all that a child may do with its copies. */
static void fork_and_check(struct handles *all)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        callback_waits = 0;
        server_calls_fail(all->server);
        server_calls_fail(all->lone);
        client_calls_fail(all->client);
        auto_calls_fail(all->auto_server, all->auto_client);
        multi_calls_fail(all->multi_server, all->multi_client);
        caller_calls_fail(all->caller);
        pending_connect_calls_fail(all->pending);
        own_endpoints_work();
        copies_stop(all);
        own_endpoints_work();
        _exit(0);
    }
    child_ends(child);
    CHECK(seen->in_child == 0);
}

/* ------------------------------------------------------------------------------- what threads of the parent are inside */

/* A thread that makes one call. */
struct caller {
    struct handles *all;
    thread_t thread;
    volatile int tid;
    volatile int code;
};

static void begin_call(struct caller *caller, struct handles *all, void *(*call)(void *))
{
    memset(caller, 0, sizeof *caller);
    caller->all = all;
    caller->code = 1;
    begin(&caller->thread, call, caller);
}

static void enters(struct caller *caller) { caller->tid = (int)syscall(SYS_gettid); }

/* Waits until the thread sleeps in the kernel. */
static void sleeps(struct caller *caller)
{
    unsigned waited;
    for (waited = 0; waited < 20000; waited++) {
        char path[64], state = 0;
        FILE *file;
        snprintf(path, sizeof path, "/proc/self/task/%d/stat", caller->tid);
        if (caller->tid && (file = fopen(path, "r"))) {
            if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 0;
            fclose(file);
        }
        if (state == 'S' && caller->code == 1) return;
        pause_ms(1);
    }
    CHECK(!"the thread sleeps in its call");
}

static THREAD receives(void *with)
{
    struct caller *caller = with;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    enters(caller);
    caller->code = shm_server_receive(caller->all->server, buffer, &size);
    return THREAD_END;
}

static void inside_receive(struct handles *all)
{
    struct caller caller;
    begin_call(&caller, all, receives);
    sleeps(&caller);
    fork_and_check(all);
    CHECK(shm_client_send(all->client, "xx", 2) == SHM_SUCCESS);
    join(caller.thread);
    CHECK(caller.code == SHM_SUCCESS);
}

static THREAD waits_for_client(void *with)
{
    struct caller *caller = with;
    enters(caller);
    caller->code = shm_server_wait_for_client(caller->all->lone, SHM_FOREVER);
    return THREAD_END;
}

static void inside_wait_for_client(struct handles *all)
{
    struct caller caller;
    begin_call(&caller, all, waits_for_client);
    sleeps(&caller);
    fork_and_check(all);
    CHECK(shm_server_interrupt(all->lone) == SHM_SUCCESS);
    join(caller.thread);
    CHECK(caller.code == SHM_ERROR_INTERRUPTED && shm_server_resume(all->lone) == SHM_SUCCESS);
}

static THREAD polls(void *with)
{
    struct caller *caller = with;
    enters(caller);
    caller->code = shm_client_poll(caller->all->client, SHM_FOREVER);
    return THREAD_END;
}

static void inside_poll(struct handles *all)
{
    struct caller caller;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    begin_call(&caller, all, polls);
    sleeps(&caller);
    fork_and_check(all);
    CHECK(shm_server_send(all->server, "xx", 2) == SHM_SUCCESS);
    join(caller.thread);
    CHECK(caller.code == SHM_SUCCESS && shm_client_try_receive(all->client, buffer, &size) == SHM_SUCCESS);
}

static THREAD sends(void *with)
{
    struct caller *caller = with;
    enters(caller);
    caller->code = shm_server_send_timeout(caller->all->server, "the last", 8, SHM_FOREVER);
    return THREAD_END;
}

static void inside_a_send_that_waits_for_room(struct handles *all)
{
    struct caller caller;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    unsigned sent = 0;
    while (shm_server_try_send(all->server, "xx", 2) == SHM_SUCCESS) sent++;
    CHECK(sent > 0 && shm_last_error() == SHM_ERROR_FULL);
    begin_call(&caller, all, sends);
    sleeps(&caller);
    fork_and_check(all);
    for (; sent > 0; sent--) {
        size = sizeof buffer;
        CHECK(shm_client_receive_timeout(all->client, buffer, &size, 10000) == SHM_SUCCESS && size == 2);
    }
    size = sizeof buffer;
    CHECK(shm_client_receive_timeout(all->client, buffer, &size, 10000) == SHM_SUCCESS && size == 8);
    join(caller.thread);
    CHECK(caller.code == SHM_SUCCESS);
}

static void release_callback(void)
{
    callback_waits = 0;
    while (callback_is_waiting) pause_ms(1);
}

/* Forks while a callback runs, and then lets the callback return. */
static void fork_while_a_callback_waits(struct handles *all)
{
    CHECK(comes(&callback_is_waiting, 1));
    fork_and_check(all);
    release_callback();
}

static void inside_a_callback_of_a_sync_handle(struct handles *all)
{
    struct caller caller;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    callback_waits = 1;
    CHECK(shm_server_send(all->server, "xx", 2) == SHM_SUCCESS);
    begin_call(&caller, all, polls);
    fork_while_a_callback_waits(all);
    join(caller.thread);
    CHECK(caller.code == SHM_SUCCESS && shm_client_try_receive(all->client, buffer, &size) == SHM_SUCCESS);
}

static void inside_a_callback_of_an_auto_handle(struct handles *all)
{
    callback_waits = 1;
    CHECK(shm_client_send_auto(all->auto_client, "xx", 2) == SHM_SUCCESS);
    fork_while_a_callback_waits(all);
}

static void inside_a_callback_of_a_multi_handle(struct handles *all)
{
    callback_waits = 1;
    CHECK(shm_multi_client_send(all->multi_client, "xx", 2) == SHM_SUCCESS);
    fork_while_a_callback_waits(all);
}

static THREAD stops_auto(void *with)
{
    struct caller *caller = with;
    enters(caller);
    shm_server_stop_auto(caller->all->auto_server);
    caller->code = SHM_SUCCESS;
    return THREAD_END;
}

static void inside_a_stop_that_waits_for_a_callback(struct handles *all)
{
    struct handles other;
    struct caller caller;
    start_auto(&other);
    callback_waits = 1;
    CHECK(shm_client_send_auto(other.auto_client, "xx", 2) == SHM_SUCCESS);
    CHECK(comes(&callback_is_waiting, 1));
    begin_call(&caller, &other, stops_auto);
    sleeps(&caller);
    fork_while_a_callback_waits(all);
    join(caller.thread);
    shm_client_disconnect_auto(other.auto_client);
}

/* ------------------------------------------------------------------------------------- many forks beside busy threads */

static volatile bool goes_on;
static volatile unsigned rounds;

static THREAD starts_and_stops(void *with)
{
    struct handles own;
    (void)with;
    while (goes_on) {
        start_all(&own);
        stop_all(&own);
        ADD(rounds);
    }
    return THREAD_END;
}

static THREAD sends_all_the_time(void *with)
{
    struct handles *all = with;
    while (goes_on) {
        shm_server_send(all->server, "xx", 2);
        shm_client_send_auto(all->auto_client, "xx", 2);
        shm_server_send_auto(all->auto_server, "xx", 2);
        shm_multi_client_send(all->multi_client, "xx", 2);
        shm_multi_server_broadcast(all->multi_server, "xx", 2, NULL);
        ADD(rounds);
    }
    return THREAD_END;
}

static void forks_beside_busy_threads(unsigned count)
{
    struct handles all;
    thread_t threads[3];
    uint8_t buffer[16];
    uint32_t size;
    unsigned at;
    start_all(&all);
    goes_on = true;
    rounds = 0;
    begin(&threads[0], starts_and_stops, NULL);
    begin(&threads[1], starts_and_stops, NULL);
    begin(&threads[2], sends_all_the_time, &all);
    CHECK(comes(&rounds, 10));
    for (at = 0; at < count; at++) fork_and_check(&all);
    goes_on = false;
    for (at = 0; at < 3; at++) join(threads[at]);
    do size = sizeof buffer;
    while (shm_client_try_receive(all.client, buffer, &size) == SHM_SUCCESS);
    sessions_work(&all);
    stop_all(&all);
}

/* -------------------------------------------------------------------------------------------- callbacks that fork */

static volatile unsigned callback_forks;
static struct handles *forking;

/* Forks in the first callback. The child returns from it, which ends the child. */
static void fork_here(void)
{
    if (getpid() != parent) {
        ADD(seen->in_child);
        return;
    }
    if (__sync_bool_compare_and_swap(&callback_forks, 1, 2)) {
        pid_t child = fork();
        if (child == 0) {
            alarm(CHILD_SECONDS);
            return;
        }
        child_ends(child);
        ADD(callback_forks);
    }
}

static void forks_on_call(void *user) { (void)user; fork_here(); }
static void forks_on_error(shm_error_t error, void *user) { (void)error, (void)user; fork_here(); }
static void forks_on_message(shm_direction_t way, const void *data, uint32_t size, void *user) { (void)way, (void)data, (void)size, (void)user; fork_here(); }
static void forks_on_overflow(shm_direction_t way, uint32_t count, void *user) { (void)way, (void)count, (void)user; fork_here(); }
static void forks_on_client(uint32_t id, void *user) { (void)id, (void)user; fork_here(); }
static void forks_on_client_message(uint32_t id, const void *data, uint32_t size, void *user) { (void)id, (void)data, (void)size, (void)user; fork_here(); }

/* The callbacks of a background endpoint that fork, one at a time. */
enum callback { ON_CONNECT, ON_DATA, ON_MESSAGE, ON_OVERFLOW, ON_DISCONNECT, CALLBACKS };

static THREAD sends_to_the_forking(void *with)
{
    (void)with;
    while (goes_on) {
        if (forking->auto_server) {
            shm_client_send_auto(forking->auto_client, "xx", 2);
            shm_server_send_auto(forking->auto_server, "xx", 2);
        } else {
            shm_multi_client_send(forking->multi_client, "xx", 2);
            shm_multi_server_broadcast(forking->multi_server, "xx", 2, NULL);
        }
    }
    return THREAD_END;
}

static void an_auto_callback_that_forks(enum callback which)
{
    struct handles all = {0};
    shm_endpoint_config_t config = config_for(all.auto_name, "forks");
    shm_callbacks_t calls = xshm_server_callbacks_default(), client_calls = xshm_client_callbacks_default();
    thread_t thread;
    unsigned before = seen->messages;
    /* The callbacks that do not fork see whether they run in the child. */
    if (which != ON_OVERFLOW) {
        calls.on_connect = calls.on_disconnect = on_data;
        calls.on_message = on_message;
    }
    calls.on_error = forks_on_error;
    if (which == ON_CONNECT) calls.on_connect = forks_on_call;
    if (which == ON_DATA) calls.on_data_available = forks_on_call;
    if (which == ON_MESSAGE) calls.on_message = forks_on_message;
    if (which == ON_OVERFLOW) calls.on_overflow = forks_on_overflow;
    if (which == ON_DISCONNECT) calls.on_disconnect = forks_on_call;
    callback_forks = 1;
    forking = &all;
    CHECK(all.auto_server = shm_server_start_auto(&config, &calls, NULL));
    /* A client that takes no message makes its server evict some. */
    client_calls.on_message = on_message;
    callback_waits = which == ON_OVERFLOW;
    CHECK(all.auto_client = shm_client_connect_auto(&config, &client_calls, NULL));
    goes_on = true;
    begin(&thread, sends_to_the_forking, NULL);
    CHECK(which == ON_DISCONNECT ? comes(&seen->messages, before + 1) : comes(&callback_forks, 3));
    goes_on = false;
    release_callback();
    join(thread);
    shm_client_disconnect_auto(all.auto_client);
    shm_server_stop_auto(all.auto_server);
    CHECK(callback_forks == 3 && seen->in_child == 0);
}

static void a_multi_callback_that_forks(enum callback which)
{
    struct handles all = {0};
    shm_endpoint_config_t config = config_for(all.multi_name, "forks");
    shm_multi_callbacks_t calls = shm_multi_callbacks_default();
    thread_t thread;
    unsigned before = seen->messages;
    calls.on_message = on_client_message;
    if (which == ON_CONNECT) calls.on_client_connect = forks_on_client;
    if (which == ON_MESSAGE) calls.on_message = forks_on_client_message;
    if (which == ON_DISCONNECT) calls.on_client_disconnect = forks_on_client;
    callback_forks = 1;
    forking = &all;
    CHECK(all.multi_server = shm_multi_server_start(config.name, &calls, NULL));
    CHECK(all.multi_client = shm_multi_client_connect(config.name, NULL, NULL));
    goes_on = true;
    begin(&thread, sends_to_the_forking, NULL);
    CHECK(which == ON_DISCONNECT ? comes(&seen->messages, before + 1) : comes(&callback_forks, 3));
    goes_on = false;
    join(thread);
    shm_multi_client_disconnect(all.multi_client);
    shm_multi_server_stop(all.multi_server);
    CHECK(callback_forks == 3 && seen->in_child == 0);
}

/* A sync handle's callback runs inside a call of the program. In the child that call returns, and calls no other callback. */
static void a_sync_callback_that_forks(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "forks");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    struct handles all = {0};
    thread_t thread;
    shm_error_t code;
    pid_t here = getpid();
    strcpy(all.name, name);
    calls.on_disconnect = forks_on_call;
    calls.on_overflow = forks_on_overflow;
    CHECK(all.server = shm_server_start(&config, &calls));
    begin(&thread, connect_client, &all);
    CHECK(shm_server_wait_for_client(all.server, 10000) == SHM_SUCCESS);
    join(thread);
    CHECK(shm_client_send(all.client, "discarded", 9) == SHM_SUCCESS);
    shm_client_disconnect(all.client);
    callback_forks = 1;
    /* on_disconnect forks; the message that no call has received is reported after it, to the parent alone. */
    begin(&thread, connect_client, &all);
    code = shm_server_wait_for_client(all.server, 10000);
    if (getpid() != here) {
        CHECK(code == SHM_ERROR_FORKED);
        FORKED(shm_server_send(all.server, "xx", 2));
        FORKED((shm_server_stop(all.server), shm_last_error()));
        _exit(0);
    }
    CHECK(code == SHM_SUCCESS);
    join(thread);
    CHECK(callback_forks == 3 && seen->in_child == 0);
    shm_client_disconnect(all.client);
    shm_server_stop(all.server);
}

/* ------------------------------------------------------------------------------------------------------- daemons */

/* A process that starts servers and then becomes a daemon, as daemon(3) does: the process that started them ends, and its
   child gives up the copies and takes the names. */
static void a_daemon_takes_the_names(void)
{
    int ends[2];
    char said = 0;
    pid_t first;
    CHECK(pipe(ends) == 0);
    if ((first = fork()) == 0) {
        struct handles all;
        pid_t started;
        alarm(CHILD_SECONDS);
        parent = started = getpid();
        start_all(&all);
        sessions_work(&all);
        if (fork() != 0) _exit(0);
        alarm(CHILD_SECONDS);
        setsid();
        while (getppid() == started) pause_ms(1);
        {
            shm_endpoint_config_t sync = xshm_server_config(all.name), lone = xshm_server_config(all.lone_name),
                                  automatic = xshm_server_config(all.auto_name);
            AutoServerHandle *new_auto;
            MultiServerHandle *new_multi;
            FORKED(shm_server_stop_timeout_auto(all.auto_server, 1000));
            FORKED(shm_multi_server_stop_timeout(all.multi_server, 1000));
            /* The names are free now. The handles remain. */
            CHECK(new_auto = shm_server_start_auto(&automatic, NULL, NULL));
            CHECK(new_multi = shm_multi_server_start(all.multi_name, NULL, NULL));
            shm_server_stop_auto(new_auto);
            shm_multi_server_stop(new_multi);
            copies_stop(&all);
            CHECK(all.server = shm_server_start(&sync, NULL));
            CHECK(all.lone = shm_server_start(&lone, NULL));
            CHECK(all.auto_server = shm_server_start_auto(&automatic, NULL, NULL));
            CHECK(all.multi_server = shm_multi_server_start(all.multi_name, NULL, NULL));
            shm_server_stop(all.server);
            shm_server_stop(all.lone);
            shm_server_stop_auto(all.auto_server);
            shm_multi_server_stop(all.multi_server);
        }
        CHECK(write(ends[1], "k", 1) == 1);
        _exit(0);
    }
    close(ends[1]);
    child_ends(first);
    CHECK(read(ends[0], &said, 1) == 1 && said == 'k');
    close(ends[0]);
}

/* A daemon that closes all descriptors may still stop its copies of auto and multi servers, also when servers of the same names,
   whose descriptors have the same numbers, are there again. */
static void a_daemon_that_closed_everything_stops_its_copies(void)
{
    pid_t first;
    if ((first = fork()) == 0) {
        char name[64], multi_name[64];
        shm_endpoint_config_t config = config_for(name, "closed");
        AutoServerHandle *copy, *server;
        MultiServerHandle *multi_copy, *multi_server;
        pid_t second;
        int number;
        (void)config_for(multi_name, "closed.multi");
        alarm(CHILD_SECONDS);
        CHECK(copy = shm_server_start_auto(&config, NULL, NULL));
        CHECK(multi_copy = shm_multi_server_start(multi_name, NULL, NULL));
        if ((second = fork()) == 0) {
            ClientHandle *client;
            MultiClientHandle *multi_client;
            alarm(CHILD_SECONDS);
            for (number = 3; number < 1000; number++) close(number);
            while (!(server = shm_server_start_auto(&config, NULL, NULL))) pause_ms(1);
            while (!(multi_server = shm_multi_server_start(multi_name, NULL, NULL))) pause_ms(1);
            shm_server_stop_auto(copy);
            shm_multi_server_stop(multi_copy);
            CHECK(client = shm_client_connect(&config, NULL, 5000));
            CHECK(multi_client = shm_multi_client_connect(multi_name, NULL, NULL));
            shm_client_disconnect(client);
            shm_multi_client_disconnect(multi_client);
            shm_server_stop_auto(server);
            shm_multi_server_stop(multi_server);
            _exit(0);
        }
        shm_server_stop_auto(copy);
        shm_multi_server_stop(multi_copy);
        child_ends(second);
        _exit(0);
    }
    child_ends(first);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*check)(struct handles *);
    } situations[] = {
        {"a thread is inside receive", inside_receive},
        {"a thread is inside wait_for_client", inside_wait_for_client},
        {"a thread is inside poll", inside_poll},
        {"a thread sends and waits for room", inside_a_send_that_waits_for_room},
        {"a callback of a sync handle runs", inside_a_callback_of_a_sync_handle},
        {"a callback of an auto handle runs", inside_a_callback_of_an_auto_handle},
        {"a callback of a multi handle runs", inside_a_callback_of_a_multi_handle},
        {"a thread stops another handle", inside_a_stop_that_waits_for_a_callback},
    };
    const bool briefly = argc > 1 && strcmp(argv[1], "briefly") == 0;
    struct handles all;
    unsigned at, again;
    parent = getpid();
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(seen != MAP_FAILED);
    start_all(&all);
    for (at = 0; at < sizeof situations / sizeof *situations; at++) {
        situation = situations[at].name;
        situations[at].check(&all);
        sessions_work(&all);
    }
    stop_all(&all);
    situation = "a callback forks";
    for (again = 0; again < (briefly ? 2 : 20); again++) {
        for (at = 0; at < CALLBACKS; at++) an_auto_callback_that_forks((enum callback)at);
        a_multi_callback_that_forks(ON_CONNECT);
        a_multi_callback_that_forks(ON_MESSAGE);
        a_multi_callback_that_forks(ON_DISCONNECT);
        a_sync_callback_that_forks();
    }
    situation = "a daemon";
    for (again = 0; again < (briefly ? 2 : 20); again++) a_daemon_takes_the_names();
    situation = "a daemon that closed all descriptors";
    for (again = 0; again < (briefly ? 2 : 20); again++) a_daemon_that_closed_everything_stops_its_copies();
    situation = "threads start, stop and send";
    forks_beside_busy_threads(briefly ? 10 : 200);
    printf("%u checks passed\n", checks);
    return 0;
}
