/*
 * What event loops wait for besides messages: room, clients, and the answer to a connect. A wait here has no time limit of its own
 * unless the library names a time for the next look, so a lost wake-up fails a check. Exits with 0, or prints the check that
 * failed. There is one process: some peers are threads.
 */
#include "xshm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "platform.h"
#ifndef _WIN32
#include <poll.h>
#endif

/* How long a check waits for what must come, in milliseconds. */
#define LIMIT 20000

static shm_endpoint_config_t config_for(char name[64], const char *what)
{
    sprintf(name, "xshm.loops.%u.%.20s", own_pid(), what);
    return xshm_server_config(name);
}

static bool says(const char *text)
{
    char message[256];
    shm_last_error_message(message, sizeof message);
    return strstr(message, text) != NULL;
}

/* ------------------------------------------------------------------------------------------------------------ the loop */

/* What a loop waits for at once. */
struct loop {
    intptr_t objects[8];
    unsigned count;
    uint32_t next_look;
};

static void empty(struct loop *loop)
{
    loop->count = 0;
    loop->next_look = SHM_FOREVER;
}

static void add(struct loop *loop, const shm_wait_handles_t *handles, uint32_t next_look)
{
    if (handles->data != -1) loop->objects[loop->count++] = handles->data;
    if (handles->peer != -1) loop->objects[loop->count++] = handles->peer;
    if (next_look < loop->next_look) loop->next_look = next_look;
}

/* Waits up to this time. Returns whether an object is ready. */
static bool is_ready_within(const struct loop *loop, uint32_t ms)
{
    unsigned at;
#ifdef _WIN32
    HANDLE objects[8];
    DWORD woken;
    for (at = 0; at < loop->count; at++) objects[at] = (HANDLE)loop->objects[at];
    woken = WaitForMultipleObjects(loop->count, objects, FALSE, ms);
    CHECK(woken != WAIT_FAILED);
    return woken < WAIT_OBJECT_0 + loop->count;
#else
    struct pollfd objects[8];
    int ready;
    for (at = 0; at < loop->count; at++) {
        objects[at].fd = (int)loop->objects[at];
        objects[at].events = POLLIN;
        objects[at].revents = 0;
    }
    ready = poll(objects, loop->count, (int)ms);
    CHECK(ready >= 0);
    return ready > 0;
#endif
}

/* Waits as an event loop does. */
static void wait_for(const struct loop *loop)
{
    bool is_limited = loop->next_look != SHM_FOREVER;
    CHECK(is_ready_within(loop, is_limited ? loop->next_look : LIMIT) || is_limited);
}

static void wait_for_handles(const shm_wait_handles_t *handles)
{
    struct loop loop;
    empty(&loop);
    add(&loop, handles, SHM_FOREVER);
    wait_for(&loop);
}

static bool is_idle(const shm_wait_handles_t *handles)
{
    struct loop loop;
    empty(&loop);
    add(&loop, handles, SHM_FOREVER);
    return !is_ready_within(&loop, 0);
}

/* ----------------------------------------------------------------------------------------------------- clients, connects */

/* Waits until the server has something to do for clients. */
static void wait_for_accept(ServerHandle *server)
{
    struct loop loop;
    shm_wait_handles_t handles;
    uint32_t next_look;
    CHECK(shm_server_accept_handles(server, &handles, &next_look) == SHM_SUCCESS);
    empty(&loop);
    add(&loop, &handles, next_look);
    wait_for(&loop);
    shm_wait_handles_close(&handles);
}

/* Returns the number of waits. */
static unsigned accept_client(ServerHandle *server)
{
    unsigned waits = 0;
    bool is_accepted = false;
    for (;;) {
        CHECK(shm_server_try_accept(server, &is_accepted) == SHM_SUCCESS);
        if (is_accepted) return waits;
        wait_for_accept(server);
        waits++;
    }
}

static void wait_for_connect(PendingConnectHandle *pending)
{
    struct loop loop;
    shm_wait_handles_t handles;
    uint32_t next_look;
    CHECK(shm_pending_connect_wait_handles(pending, &handles, &next_look) == SHM_SUCCESS && handles.data != -1);
    empty(&loop);
    add(&loop, &handles, next_look);
    wait_for(&loop);
    shm_wait_handles_close(&handles);
}

static ClientHandle *finish(PendingConnectHandle *pending)
{
    ClientHandle *client = NULL;
    for (;;) {
        CHECK(shm_pending_connect_try_finish(pending, &client) == SHM_SUCCESS);
        if (client) return client;
        wait_for_connect(pending);
    }
}

/* Accepts and connects in one loop. */
static ClientHandle *connect_and_accept(ServerHandle *server, PendingConnectHandle *pending)
{
    ClientHandle *client = NULL;
    bool is_accepted = false;
    while (!is_accepted || !client) {
        struct loop loop;
        shm_wait_handles_t accepting = {-1, -1}, connecting = {-1, -1};
        uint32_t next_look;
        empty(&loop);
        if (!is_accepted) CHECK(shm_server_try_accept(server, &is_accepted) == SHM_SUCCESS);
        if (!client) CHECK(shm_pending_connect_try_finish(pending, &client) == SHM_SUCCESS);
        if (!is_accepted) {
            CHECK(shm_server_accept_handles(server, &accepting, &next_look) == SHM_SUCCESS);
            add(&loop, &accepting, next_look);
        }
        if (!client) {
            CHECK(shm_pending_connect_wait_handles(pending, &connecting, &next_look) == SHM_SUCCESS);
            add(&loop, &connecting, next_look);
        }
        if (loop.count > 0) wait_for(&loop);
        shm_wait_handles_close(&accepting);
        shm_wait_handles_close(&connecting);
    }
    return client;
}

static ClientHandle *connect_to(ServerHandle *server, const shm_endpoint_config_t *config)
{
    shm_endpoint_config_t own = {config->name, 0};
    PendingConnectHandle *pending = shm_client_begin_connect(&own, NULL, NULL);
    ClientHandle *client;
    CHECK(pending);
    client = connect_and_accept(server, pending);
    shm_pending_connect_free(pending);
    return client;
}

static struct {
    volatile unsigned connects, disconnects, lost;
    shm_error_t how;
} seen;

static void on_connect(void *user) { CHECK(user == &seen); ADD(seen.connects); }
static void on_disconnect(void *user) { CHECK(user == &seen); seen.how = shm_last_error(); ADD(seen.disconnects); }
static void on_overflow(shm_direction_t way, uint32_t count, void *user)
{
    CHECK(user == &seen && way == SHM_DIR_CLIENT_TO_SERVER);
    seen.lost += count;
}

/* Each client leaves messages that the server does not receive. The callbacks run in the calls of the loop. `is_reused`: all
   sessions use one section, so the messages are counted before the next session empties it. */
static void one_thread_accepts_and_connects(bool is_reused)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, is_reused ? "reused" : "both");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    ServerHandle *server;
    unsigned round, number;
    uint32_t size;
    memset(&seen, 0, sizeof seen);
    calls.user_data = &seen;
    calls.on_connect = on_connect;
    calls.on_disconnect = on_disconnect;
    calls.on_overflow = on_overflow;
    CHECK(server = shm_server_start(&config, &calls));
    if (is_reused) CHECK(shm_server_section_handle(server) != 0);
    for (round = 0; round < 100; round++) {
        ClientHandle *client = connect_to(server, &config);
        shm_wait_handles_t handles;
        uint32_t next_look = 0;
        bool is_accepted = true;
        CHECK(seen.connects == round + 1 && seen.disconnects == round && seen.lost == 2 * round);
        CHECK(shm_server_try_accept(server, &is_accepted) == SHM_ERROR_ALREADY_CONNECTED && !is_accepted);
        CHECK(shm_server_accept_handles(server, &handles, &next_look) == SHM_SUCCESS && next_look == SHM_FOREVER);
        CHECK(is_idle(&handles));
        for (number = 0; number < 3; number++) CHECK(shm_client_send(client, &number, sizeof number) == SHM_SUCCESS);
        size = sizeof number;
        CHECK(shm_server_try_receive(server, &number, &size) == SHM_SUCCESS && number == 0);
        shm_client_disconnect(client);
        /* The client's end is what the loop waits for. */
        wait_for_handles(&handles);
        shm_wait_handles_close(&handles);
        CHECK(handles.data == -1 && handles.peer == -1);
    }
    shm_server_stop(server);
    CHECK(seen.how == SHM_ERROR_NOT_CONNECTED);
}

struct opener {
    shm_endpoint_config_t config;
    ClientHandle *client;
};

static THREAD open_client(void *with)
{
    struct opener *opener = with;
    opener->client = shm_client_connect(&opener->config, NULL, LIMIT);
    return THREAD_END;
}

static THREAD accept_blocking(void *with)
{
    CHECK(shm_server_wait_for_client(with, LIMIT) == SHM_SUCCESS);
    return THREAD_END;
}

/* A loop on one side, a call that waits on the other. */
static void loops_and_calls_that_wait(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "mixed");
    ServerHandle *server;
    unsigned round, waits = 0;
    CHECK(server = shm_server_start(&config, NULL));
    for (round = 0; round < 60; round++) {
        thread_t thread;
        ClientHandle *client;
        if (round % 2 == 0) {
            struct opener opener;
            opener.config = config;
            opener.client = NULL;
            begin(&thread, open_client, &opener);
            waits += accept_client(server);
            join(thread);
            client = opener.client;
        } else {
            PendingConnectHandle *pending = shm_client_begin_connect(&config, NULL, NULL);
            CHECK(pending);
            begin(&thread, accept_blocking, server);
            client = finish(pending);
            join(thread);
            shm_pending_connect_free(pending);
        }
        CHECK(client && shm_server_send(server, "hello", 5) == SHM_SUCCESS);
        shm_client_disconnect(client);
    }
    /* A few for each client, and more only if the machine is busy. */
    CHECK(waits < 600);
    shm_server_stop(server);
}

/* A connect that comes first, and connects that end. */
static void connects_wait_and_end(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "early");
    PendingConnectHandle *pending, *other;
    shm_wait_handles_t handles;
    ClientHandle *client = NULL, *none = NULL;
    ServerHandle *server;
    uint32_t next_look = 7;
    unsigned round;
    CHECK(pending = shm_client_begin_connect(&config, NULL, NULL));
    for (round = 0; round < 5; round++) {
        CHECK(shm_pending_connect_try_finish(pending, &client) == SHM_SUCCESS && !client);
        /* No server announces its start. */
        CHECK(shm_pending_connect_wait_handles(pending, &handles, &next_look) == SHM_SUCCESS && next_look <= 1000);
        shm_wait_handles_close(&handles);
        wait_for_connect(pending);
    }
    CHECK(other = shm_client_begin_connect(&config, NULL, NULL));
    CHECK(shm_pending_connect_give_up(other) == SHM_ERROR_TIMEOUT && says("no server"));
    CHECK(shm_pending_connect_give_up(other) == SHM_ERROR_NOT_READY && says("the connect has ended"));
    none = (ClientHandle *)&round;
    CHECK(shm_pending_connect_try_finish(other, &none) == SHM_ERROR_NOT_READY && !none);
    next_look = 7;
    CHECK(shm_pending_connect_wait_handles(other, &handles, &next_look) == SHM_ERROR_NOT_READY);
    CHECK(handles.data == -1 && handles.peer == -1 && next_look == 0);
    shm_pending_connect_free(other);

    CHECK(server = shm_server_start(&config, NULL));
    client = connect_and_accept(server, pending);
    CHECK(shm_pending_connect_try_finish(pending, &none) == SHM_ERROR_NOT_READY && !none);
    shm_pending_connect_free(pending);
    CHECK(shm_client_is_connected(client));

    /* The server has a client. A connect that ends leaves nothing that keeps the next one out. */
    CHECK(other = shm_client_begin_connect(&config, NULL, NULL));
    CHECK(shm_pending_connect_try_finish(other, &none) == SHM_SUCCESS && !none);
    CHECK(shm_pending_connect_give_up(other) == SHM_ERROR_ALREADY_CONNECTED);
    shm_pending_connect_free(other);
    CHECK(other = shm_client_begin_connect(&config, NULL, NULL));
    CHECK(shm_pending_connect_try_finish(other, &none) == SHM_SUCCESS && !none);
    shm_pending_connect_free(other);
    CHECK(pending = shm_client_begin_connect(&config, NULL, NULL));
    CHECK(shm_pending_connect_try_finish(pending, &none) == SHM_SUCCESS && !none);
    shm_client_disconnect(client);
    client = connect_and_accept(server, pending);
    shm_pending_connect_free(pending);
    shm_client_disconnect(client);
    shm_server_stop(server);
}

/* A server whose client does not fit, and arguments that do not. */
static void connects_that_fail(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "fails"), bad;
    shm_options_t options = shm_options_default();
    PendingConnectHandle *pending;
    ClientHandle *client = NULL;
    ServerHandle *server;
    shm_error_t code;
    bool is_accepted;
    CHECK(server = shm_server_start(&config, NULL));
    bad = config;
    bad.buffer_bytes = 4096;
    CHECK(pending = shm_client_begin_connect(&bad, NULL, NULL));
    for (;;) {
        code = shm_pending_connect_try_finish(pending, &client);
        if (code != SHM_SUCCESS) break;
        CHECK(!client && shm_server_try_accept(server, &is_accepted) == SHM_SUCCESS && !is_accepted);
        wait_for_connect(pending);
    }
    CHECK(code == SHM_ERROR_INCOMPATIBLE && !client);
    CHECK(shm_pending_connect_try_finish(pending, &client) == SHM_ERROR_NOT_READY);
    CHECK(shm_pending_connect_give_up(pending) == SHM_ERROR_NOT_READY);
    CHECK(shm_pending_connect_try_finish(pending, NULL) == SHM_ERROR_INVALID_PARAM && says("the pointer to the client is NULL"));
    CHECK(shm_pending_connect_wait_handles(pending, NULL, NULL) == SHM_ERROR_INVALID_PARAM);
    shm_pending_connect_free(pending);
    CHECK(shm_server_accept_handles(server, NULL, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_try_accept(server, NULL) == SHM_ERROR_INVALID_PARAM);
    shm_server_stop(server);
    bad.name = "a\\b";
    CHECK(!shm_client_begin_connect(&bad, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    options.trust = 77;
    CHECK(!shm_client_begin_connect(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
}

/* The callbacks of a client that a loop connects. */
static struct {
    PendingConnectHandle *pending;
    void *handle;
    unsigned connects, disconnects;
} own;

static void keep(void *handle, void *user) { CHECK(user == &own && own.connects == 0); own.handle = handle; }
static void free_pending(void *user)
{
    CHECK(user == &own && own.handle);
    own.connects++;
    shm_pending_connect_free(own.pending);
}
static void count_end(void *user) { CHECK(user == &own && own.connects == 1); own.disconnects++; }

static void callbacks_of_a_connect(void)
{
    char name[64], buffer[8];
    shm_endpoint_config_t config = config_for(name, "calls");
    shm_callbacks_t calls = xshm_client_callbacks_default();
    ServerHandle *server;
    ClientHandle *client;
    uint32_t size = sizeof buffer;
    memset(&own, 0, sizeof own);
    calls.user_data = &own;
    calls.on_start = keep;
    calls.on_connect = free_pending;
    calls.on_disconnect = count_end;
    CHECK(server = shm_server_start(&config, NULL));
    CHECK(own.pending = shm_client_begin_connect(&config, &calls, NULL));
    CHECK(!own.handle);
    client = connect_and_accept(server, own.pending);
    CHECK(own.handle == client && own.connects == 1 && own.disconnects == 0);
    shm_server_stop(server);
    CHECK(shm_client_try_receive(client, buffer, &size) == SHM_ERROR_NOT_CONNECTED && own.disconnects == 1);
    shm_client_disconnect(client);
}

static void slots_of_a_server_for_many_clients(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "slots");
    shm_multi_callbacks_t calls = shm_multi_callbacks_default();
    shm_multi_options_t options = shm_multi_options_default();
    PendingConnectHandle *pending;
    MultiServerHandle *server;
    ClientHandle *clients[2], *none = NULL;
    shm_error_t code;
    unsigned at;
    options.max_clients = 2;
    CHECK(server = shm_multi_server_start(name, &calls, &options));
    for (at = 0; at < 2; at++) {
        CHECK(pending = shm_client_begin_connect(&config, NULL, NULL));
        CHECK(clients[at] = finish(pending));
        shm_pending_connect_free(pending);
    }
    CHECK(shm_client_slot_id(clients[0]) + shm_client_slot_id(clients[1]) == 1);
    CHECK(pending = shm_client_begin_connect(&config, NULL, NULL));
    while ((code = shm_pending_connect_try_finish(pending, &none)) == SHM_SUCCESS) {
        CHECK(!none);
        wait_for_connect(pending);
    }
    CHECK(code == SHM_ERROR_NO_SLOT);
    shm_pending_connect_free(pending);
    for (at = 0; at < 2; at++) shm_client_disconnect(clients[at]);
    shm_multi_server_stop(server);
}

/* ---------------------------------------------------------------------------------------------------------------- room */

/* One side's functions. */
struct side {
    void *handle;
    shm_error_t (*handles)(const void *handle, shm_wait_handles_t *out);
    shm_error_t (*try_send)(void *handle, const void *data, uint32_t size);
    shm_error_t (*arm)(void *handle, uint32_t size, bool *is_ready);
    shm_error_t (*disarm)(void *handle);
    shm_error_t (*receive)(void *handle, void *buffer, uint32_t *size, uint32_t timeout_ms);
};

#define SIDE(KIND, TYPE)                                                                                             \
    static shm_error_t KIND##_handles(const void *handle, shm_wait_handles_t *out)                                   \
    {                                                                                                                \
        return shm_##KIND##_room_handles((const TYPE *)handle, out);                                                 \
    }                                                                                                                \
    static shm_error_t KIND##_try_send(void *handle, const void *data, uint32_t size)                                \
    {                                                                                                                \
        return shm_##KIND##_try_send((TYPE *)handle, data, size);                                                    \
    }                                                                                                                \
    static shm_error_t KIND##_arm(void *handle, uint32_t size, bool *is_ready)                                       \
    {                                                                                                                \
        return shm_##KIND##_arm_room((TYPE *)handle, size, is_ready);                                                \
    }                                                                                                                \
    static shm_error_t KIND##_disarm(void *handle) { return shm_##KIND##_disarm_room((TYPE *)handle); }              \
    static shm_error_t KIND##_receive(void *handle, void *buffer, uint32_t *size, uint32_t timeout_ms)               \
    {                                                                                                                \
        return shm_##KIND##_receive_timeout((TYPE *)handle, buffer, size, timeout_ms);                               \
    }                                                                                                                \
    static struct side KIND##_side(TYPE *handle)                                                                     \
    {                                                                                                                \
        struct side side;                                                                                            \
        side.handle = handle;                                                                                        \
        side.handles = KIND##_handles;                                                                               \
        side.try_send = KIND##_try_send;                                                                             \
        side.arm = KIND##_arm;                                                                                       \
        side.disarm = KIND##_disarm;                                                                                 \
        side.receive = KIND##_receive;                                                                               \
        return side;                                                                                                 \
    }

SIDE(server, ServerHandle)
SIDE(client, ClientHandle)

struct taking {
    struct side side;
    unsigned count;
};

/* Takes all messages, with pauses after which the sender is asleep. */
static THREAD take_all(void *with)
{
    struct taking *taking = with;
    char buffer[2048];
    unsigned at, number;
    for (at = 0; at < taking->count; at++) {
        uint32_t size = sizeof buffer;
        CHECK(taking->side.receive(taking->side.handle, buffer, &size, LIMIT) == SHM_SUCCESS);
        memcpy(&number, buffer, sizeof number);
        CHECK(number == at);
        if (at % 97 == 0) pause_ms(1);
    }
    return THREAD_END;
}

/* Sends messages that must not be lost. Returns how often it waited. */
static unsigned send_all(struct side side, unsigned count, uint32_t size)
{
    char message[2048] = "";
    shm_wait_handles_t handles;
    unsigned number = 0, waits = 0;
    CHECK(side.handles(side.handle, &handles) == SHM_SUCCESS && handles.data != -1 && handles.peer != -1);
    while (number < count) {
        shm_error_t code;
        bool is_ready;
        memcpy(message, &number, sizeof number);
        code = side.try_send(side.handle, message, size);
        if (code == SHM_SUCCESS) {
            number++;
            continue;
        }
        CHECK(code == SHM_ERROR_FULL);
        CHECK(side.arm(side.handle, size, &is_ready) == SHM_SUCCESS);
        if (is_ready) continue;
        waits++;
        wait_for_handles(&handles);
        CHECK(side.disarm(side.handle) == SHM_SUCCESS);
    }
    shm_wait_handles_close(&handles);
    return waits;
}

/* The second ring has room for one long message at a time, so that the room for a short one is too little. */
static void senders_that_wait_for_room_are_woken(void)
{
    char name[64];
    unsigned way;
    for (way = 0; way < 4; way++) {
        shm_endpoint_config_t config = config_for(name, way < 2 ? "room" : "long-room");
        shm_options_t options = shm_options_default();
        ServerHandle *server;
        ClientHandle *client;
        struct side from, to;
        struct taking taking;
        thread_t thread;
        options.message_limit = 3;
        if (way >= 2) config.buffer_bytes = 4096;
        CHECK(server = shm_server_start_with_options(&config, NULL, &options));
        CHECK(client = connect_to(server, &config));
        from = way % 2 == 0 ? server_side(server) : client_side(client);
        to = way % 2 == 0 ? client_side(client) : server_side(server);
        taking.side = to;
        taking.count = 5000;
        begin(&thread, take_all, &taking);
        CHECK(send_all(from, taking.count, way < 2 ? 40 : 1500) > 0);
        join(thread);
        shm_client_disconnect(client);
        shm_server_stop(server);
    }
}

static void arm_says_whether_there_is_room(void)
{
    char name[64], buffer[128] = "";
    shm_endpoint_config_t config = config_for(name, "arm");
    shm_options_t options = shm_options_default();
    shm_wait_handles_t handles, none;
    ServerHandle *server;
    ClientHandle *client;
    uint32_t size;
    bool is_ready = true;
    options.message_limit = 2;
    CHECK(server = shm_server_start_with_options(&config, NULL, &options));
    /* There was no session yet. */
    CHECK(shm_server_room_handles(server, &none) == SHM_ERROR_NOT_CONNECTED && none.data == -1 && none.peer == -1);
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_ERROR_NOT_CONNECTED && !is_ready);
    CHECK(shm_server_disarm_room(server) == SHM_ERROR_NOT_CONNECTED);
    CHECK(client = connect_to(server, &config));
    CHECK(shm_server_room_handles(server, &handles) == SHM_SUCCESS && handles.data != -1 && handles.peer != -1);
    CHECK(shm_server_room_handles(server, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_arm_room(server, 100, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_SUCCESS && is_ready);
    CHECK(shm_server_arm_room(server, 1, &is_ready) == SHM_ERROR_MESSAGE_TOO_SMALL && !is_ready);
    CHECK(shm_server_arm_room(server, 70000, &is_ready) == SHM_ERROR_MESSAGE_TOO_LARGE && !is_ready);
    CHECK(shm_server_try_send(server, buffer, 100) == SHM_SUCCESS && shm_server_try_send(server, buffer, 100) == SHM_SUCCESS);
    /* Nothing is armed, so the client signals nothing. */
    size = sizeof buffer;
    CHECK(shm_client_try_receive(client, buffer, &size) == SHM_SUCCESS && is_idle(&handles));
    CHECK(shm_server_try_send(server, buffer, 100) == SHM_SUCCESS);
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_SUCCESS && !is_ready && is_idle(&handles));
    size = sizeof buffer;
    CHECK(shm_client_try_receive(client, buffer, &size) == SHM_SUCCESS);
    wait_for_handles(&handles);
    CHECK(shm_server_disarm_room(server) == SHM_SUCCESS && is_idle(&handles));
    CHECK(shm_server_try_send(server, buffer, 100) == SHM_SUCCESS);
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_SUCCESS && !is_ready);
    CHECK(shm_server_disarm_room(server) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_client_try_receive(client, buffer, &size) == SHM_SUCCESS && is_idle(&handles));
    CHECK(shm_server_try_send(server, buffer, 100) == SHM_SUCCESS);
    /* The client's end ends the wait. */
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_SUCCESS && !is_ready);
    shm_client_disconnect(client);
    wait_for_handles(&handles);
    CHECK(shm_server_disarm_room(server) == SHM_SUCCESS);
    CHECK(shm_server_arm_room(server, 100, &is_ready) == SHM_SUCCESS && is_ready);
    CHECK(shm_server_try_send(server, buffer, 100) == SHM_ERROR_NOT_CONNECTED);
    shm_wait_handles_close(&handles);
    shm_server_stop(server);
}

/* A channel without events has no objects, and a server's next look is soon. */
static void channels_without_events(void)
{
    shm_wait_handles_t handles;
    uint32_t next_look = 0;
    bool is_accepted = true;
    ServerHandle *server;
    CHECK(server = shm_server_start_anonymous(0, NULL, NULL));
    CHECK(shm_server_try_accept(server, &is_accepted) == SHM_SUCCESS && !is_accepted);
    CHECK(shm_server_accept_handles(server, &handles, &next_look) == SHM_SUCCESS && next_look == 1);
    CHECK(is_idle(&handles));
    shm_wait_handles_close(&handles);
    shm_server_stop(server);
}

int main(void)
{
    one_thread_accepts_and_connects(false);
    one_thread_accepts_and_connects(true);
    loops_and_calls_that_wait();
    connects_wait_and_end();
    connects_that_fail();
    callbacks_of_a_connect();
    slots_of_a_server_for_many_clients();
    senders_that_wait_for_room_are_woken();
    arm_says_whether_there_is_room();
    channels_without_events();
    printf("event loops: all %u checks passed\n", checks);
    return 0;
}
