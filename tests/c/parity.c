/*
 * What C has of each mode: event loops, calls, lossless sends to many clients, losses that are reported, figures while another thread
 * waits, connects that are cancelled, events for a log, handles in callbacks, and structures that may grow.
 */
#include "xshm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"

#ifndef _WIN32
#include <poll.h>
#endif

#define SOON 20000

static unsigned checks;

#define CHECK(condition)                                                                                                    \
    do {                                                                                                                    \
        if (!(condition)) {                                                                                                 \
            char why[300] = "";                                                                                             \
            shm_last_error_message(why, sizeof why);                                                                        \
            fprintf(stderr, "%s:%d: %s; last error %d: %s\n", __FILE__, __LINE__, #condition, (int)shm_last_error(), why); \
            exit(1);                                                                                                        \
        }                                                                                                                   \
        ADD(checks);                                                                                                        \
    } while (0)

/* Waits until a count that another thread changes is at least `count`. */
#define COMES(value, count)                                              \
    do {                                                                 \
        unsigned waited;                                                 \
        for (waited = 0; (value) < (count); waited++) {                  \
            CHECK(waited < SOON);                                        \
            pause_ms(1);                                                 \
        }                                                                \
        CHECK((value) == (count));                                       \
    } while (0)

static shm_endpoint_config_t config_for(char name[64], const char *what)
{
    static unsigned number;
    snprintf(name, 64, "parity-%s-%u-%u", what, own_pid(), number++);
    return xshm_server_config(name);
}

static bool says(const char *part)
{
    char text[400] = "";
    shm_last_error_message(text, sizeof text);
    return strstr(text, part) != NULL;
}

/* ---------------------------------------------------------------------------------------------------------- a session */

struct pair {
    char name[64];
    ServerHandle *server;
    ClientHandle *client;
    const shm_options_t *options;
};

static THREAD connect_pair(void *with)
{
    struct pair *pair = with;
    shm_endpoint_config_t config = xshm_client_config(pair->name);
    pair->client = shm_client_connect(&config, NULL, SOON);
    return THREAD_END;
}

static void open_pair(struct pair *pair, const char *what, const shm_options_t *options)
{
    shm_endpoint_config_t config = config_for(pair->name, what);
    thread_t thread;
    CHECK(pair->server = shm_server_start_with_options(&config, NULL, options));
    begin(&thread, connect_pair, pair);
    CHECK(shm_server_wait_for_client(pair->server, SOON) == SHM_SUCCESS);
    join(thread);
    CHECK(pair->client);
}

static void close_pair(struct pair *pair)
{
    shm_client_disconnect(pair->client);
    shm_server_stop(pair->server);
}

/* --------------------------------------------------------------------------------------------------------- event loops */

/* Waits as a program's own loop does. Returns whether the peer has signalled, and not its end. */
static bool loop_once(const shm_wait_handles_t *handles)
{
#ifdef _WIN32
    HANDLE both[2];
    DWORD woken;
    both[0] = (HANDLE)handles->data;
    both[1] = (HANDLE)handles->peer;
    woken = WaitForMultipleObjects(2, both, FALSE, SOON);
    CHECK(woken == WAIT_OBJECT_0 || woken == WAIT_OBJECT_0 + 1);
    return woken == WAIT_OBJECT_0;
#else
    struct pollfd both[2] = {{(int)handles->data, POLLIN, 0}, {(int)handles->peer, POLLIN, 0}};
    CHECK(poll(both, 2, SOON) > 0);
    return both[0].revents != 0;
#endif
}

struct talk {
    ServerHandle *server;
    unsigned count;
};

static THREAD send_some(void *with)
{
    struct talk *talk = with;
    unsigned at;
    for (at = 0; at < talk->count; at++) {
        CHECK(shm_server_send_timeout(talk->server, &at, sizeof at, SOON) == SHM_SUCCESS);
        if (at % 7 == 0) pause_ms(1);
    }
    return THREAD_END;
}

static void event_loops(void)
{
    struct pair pair;
    struct talk talk = {0, 500};
    shm_wait_handles_t handles, none;
    thread_t thread;
    unsigned came = 0, number;
    uint32_t size;
    bool is_ready;
    shm_endpoint_config_t config;
    char name[64];
    ServerHandle *lonely;

    open_pair(&pair, "loop", NULL);
    talk.server = pair.server;
    CHECK(shm_client_wait_handles(pair.client, &handles) == SHM_SUCCESS && handles.data != -1 && handles.peer != -1);
    CHECK(shm_server_wait_handles(pair.server, &none) == SHM_SUCCESS);
    shm_wait_handles_close(&none);
    CHECK(none.data == -1 && none.peer == -1);
    shm_wait_handles_close(&none);
    shm_wait_handles_close(NULL);
    begin(&thread, send_some, &talk);
    while (came < talk.count) {
        size = sizeof number;
        if (shm_client_try_receive(pair.client, &number, &size) == SHM_SUCCESS) {
            CHECK(number == came++);
            continue;
        }
        CHECK(shm_last_error() == SHM_ERROR_EMPTY);
        CHECK(shm_client_arm(pair.client, &is_ready) == SHM_SUCCESS);
        if (is_ready) continue;
        CHECK(loop_once(&handles));
        CHECK(shm_client_disarm(pair.client) == SHM_SUCCESS);
    }
    join(thread);
    /* The server's end ends the wait. */
    CHECK(shm_client_arm(pair.client, &is_ready) == SHM_SUCCESS && !is_ready);
    shm_server_stop(pair.server);
    loop_once(&handles);
    CHECK(!shm_client_is_connected(pair.client));
    shm_wait_handles_close(&handles);
    shm_client_disconnect(pair.client);

    config = config_for(name, "lonely");
    CHECK(lonely = shm_server_start(&config, NULL));
    CHECK(shm_server_wait_handles(lonely, &none) == SHM_ERROR_NOT_CONNECTED && none.data == -1 && none.peer == -1);
    is_ready = true;
    CHECK(shm_server_arm(lonely, &is_ready) == SHM_ERROR_NOT_CONNECTED && !is_ready);
    CHECK(shm_server_arm(NULL, &is_ready) == SHM_ERROR_INVALID_PARAM && says("the handle is NULL"));
    CHECK(shm_server_disarm(lonely) == SHM_ERROR_NOT_CONNECTED);
    shm_server_stop(lonely);
}

/* ----------------------------------------------------------------------------------------- figures beside blocked calls */

static THREAD block_in_receive(void *with)
{
    struct pair *pair = with;
    char buffer[16];
    uint32_t size = sizeof buffer;
    CHECK(shm_server_receive(pair->server, buffer, &size) == SHM_SUCCESS);
    return THREAD_END;
}

static THREAD block_in_send(void *with)
{
    struct pair *pair = with;
    CHECK(shm_server_send_timeout(pair->server, "room", 4, SHM_FOREVER) == SHM_SUCCESS);
    return THREAD_END;
}

static void figures_beside_blocked_calls(void)
{
    struct pair pair;
    shm_options_t options = shm_options_default();
    shm_stats_t stats;
    thread_t receiving, sending;
    char buffer[16];
    uint32_t size;
    unsigned at;
    options.message_limit = 4;
    open_pair(&pair, "figures", &options);
    CHECK(shm_client_send(pair.client, "one", 3) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_server_receive(pair.server, buffer, &size) == SHM_SUCCESS);
    for (at = 0; at < 4; at++) CHECK(shm_server_try_send(pair.server, "fill", 4) == SHM_SUCCESS);
    CHECK(shm_server_try_send(pair.server, "fill", 4) == SHM_ERROR_FULL);
    CHECK(shm_server_send_timeout(pair.server, "fill", 4, 0) == SHM_ERROR_FULL);
    CHECK(shm_server_send_timeout(pair.server, "fill", 4, 1) == SHM_ERROR_TIMEOUT);
    begin(&receiving, block_in_receive, &pair);
    begin(&sending, block_in_send, &pair);
    for (at = 0; at < 50; at++) {
        CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS);
        CHECK(stats.received == 1 && stats.receive_depth == 0 && stats.sent == 4 && stats.send_depth == 4);
        CHECK(stats.struct_size > 0 && stats.struct_size < sizeof stats);
        pause_ms(1);
    }
    CHECK(shm_client_send(pair.client, "two", 3) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_client_receive(pair.client, buffer, &size) == SHM_SUCCESS);
    join(receiving);
    join(sending);
    CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS && stats.received == 2 && stats.sent == 5);
    close_pair(&pair);
}

/* -------------------------------------------------------------------------------------------------- nothing there, no room */

static void one_code_for_nothing(void)
{
    struct pair pair;
    shm_options_t options = shm_options_default();
    char buffer[64];
    uint32_t size = sizeof buffer, count = 1;
    shm_message_t message = {"xx", 2}, in;
    const void *data;
    void *place;
    shm_call_t call;
    bool is_call;
    options.message_limit = 1;
    options.reject_when_full = 1;
    open_pair(&pair, "nothing", &options);
    CHECK(shm_client_try_receive(pair.client, buffer, &size) == SHM_ERROR_EMPTY);
    CHECK(shm_client_receive_timeout(pair.client, buffer, &size, 0) == SHM_ERROR_EMPTY);
    CHECK(shm_client_poll(pair.client, 0) == SHM_ERROR_EMPTY);
    CHECK(shm_client_receive_batch(pair.client, buffer, sizeof buffer, &in, &count, 0) == SHM_ERROR_EMPTY);
    CHECK(shm_client_borrow(pair.client, &data, &size, 0) == SHM_ERROR_EMPTY);
    size = sizeof buffer;
    CHECK(shm_server_receive_call(pair.server, buffer, &size, &is_call, &call, 0) == SHM_ERROR_EMPTY && !is_call);
    CHECK(shm_server_try_reserve(pair.server, 2, &place) == SHM_SUCCESS && shm_server_commit(pair.server) == SHM_SUCCESS);
    CHECK(shm_server_send(pair.server, "xx", 2) == SHM_ERROR_FULL);
    CHECK(shm_server_try_send(pair.server, "xx", 2) == SHM_ERROR_FULL);
    CHECK(shm_server_send_timeout(pair.server, "xx", 2, 0) == SHM_ERROR_FULL);
    CHECK(shm_server_try_send_batch(pair.server, &message, 1, &count) == SHM_ERROR_FULL && count == 0);
    CHECK(shm_server_send_batch_timeout(pair.server, &message, 1, &count, 0) == SHM_ERROR_FULL && count == 0);
    CHECK(shm_server_send_batch_timeout(pair.server, &message, 1, &count, 1) == SHM_ERROR_TIMEOUT && count == 0);
    CHECK(shm_server_try_reserve(pair.server, 2, &place) == SHM_ERROR_FULL && !place);
    CHECK(shm_server_reserve_timeout(pair.server, 2, &place, 0) == SHM_ERROR_FULL && !place);
    CHECK(shm_server_reserve_timeout(pair.server, 2, &place, 1) == SHM_ERROR_TIMEOUT && !place);
    CHECK(shm_server_commit(pair.server) == SHM_ERROR_INVALID_PARAM && says("no message is reserved"));
    CHECK(shm_client_release(pair.client) == SHM_ERROR_INVALID_PARAM && says("no message is borrowed"));
    size = sizeof buffer;
    CHECK(shm_client_receive(pair.client, buffer, &size) == SHM_SUCCESS);
    CHECK(shm_server_reserve_timeout(pair.server, 2, &place, 1) == SHM_SUCCESS && place);
    close_pair(&pair);
}

/* ------------------------------------------------------------------------------------------------------------- many clients */

struct many {
    MultiServerHandle *server, *in_connect;
    volatile unsigned lost_to_client, lost_from_client, room, connected;
    volatile unsigned taken, wait, waits, starts, ends, client_lost;
    MultiClientHandle *client;
};

static void many_start(MultiServerHandle *handle, void *user) { ((struct many *)user)->server = handle; }

static void many_connect(uint32_t id, void *user)
{
    struct many *many = user;
    /* The handle is there before the function that starts the server has returned. */
    many->in_connect = many->server;
    CHECK(shm_multi_server_send_to(many->server, id, &id, sizeof id) == SHM_SUCCESS);
    ADD(many->connected);
}

static void many_overflow(uint32_t id, shm_direction_t way, uint32_t count, void *user)
{
    struct many *many = user;
    (void)id;
    *(way == SHM_DIR_SERVER_TO_CLIENT ? &many->lost_to_client : &many->lost_from_client) += count;
}

static void many_space(uint32_t id, void *user) { (void)id; ADD(((struct many *)user)->room); }

static void client_start(MultiClientHandle *handle, void *user) { ((struct many *)user)->client = handle; }

static void client_connect(uint32_t slot, void *user)
{
    struct many *many = user;
    CHECK(shm_multi_client_send(many->client, &slot, sizeof slot) == SHM_SUCCESS);
    ADD(many->starts);
}

static void client_disconnect(void *user) { ADD(((struct many *)user)->ends); }

static void client_message(const void *data, uint32_t size, void *user)
{
    struct many *many = user;
    (void)data, (void)size;
    if (many->wait) {
        many->waits = 1;
        while (many->wait) pause_ms(1);
    }
    ADD(many->taken);
}

static void client_overflow(shm_direction_t way, uint32_t count, void *user)
{
    if (way == SHM_DIR_SERVER_TO_CLIENT) ((struct many *)user)->client_lost += count;
}

static void many_clients(void)
{
    struct many many = {0};
    char name[64], user[64];
    shm_endpoint_config_t config = config_for(name, "many");
    shm_options_t options = shm_options_default();
    shm_multi_callbacks_t calls = shm_multi_callbacks_default();
    shm_multi_client_callbacks_t client_calls = shm_multi_client_callbacks_default();
    shm_multi_client_options_t behaviour = shm_multi_client_options_default();
    shm_broadcast_result_t results[2];
    shm_client_stats_t stats;
    shm_auto_stats_t client_stats;
    uint32_t count, pid, at;
    uint64_t session;
    ClientHandle *idle;
    MultiServerHandle *server;

    options.message_limit = 8;
    calls.user_data = client_calls.user_data = &many;
    calls.on_start = many_start;
    calls.on_client_connect = many_connect;
    calls.on_overflow = many_overflow;
    calls.on_space_available = many_space;
    client_calls.on_start = client_start;
    client_calls.on_connect = client_connect;
    client_calls.on_disconnect = client_disconnect;
    client_calls.on_message = client_message;
    client_calls.on_overflow = client_overflow;
    behaviour.reconnect = 1;
    behaviour.reconnect_delay_ms = 1;
    CHECK(server = shm_multi_server_start_with_options(&config, &calls, NULL, &options));
    CHECK(many.server == server);
    CHECK(shm_multi_client_connect_with_options(&config, &client_calls, &behaviour, NULL) == many.client);
    CHECK(many.in_connect == server && many.connected == 1);
    COMES(many.taken, 1u);

    /* Without loss. */
    for (at = 0; at < 5000; at++) CHECK(shm_multi_server_send_to_timeout(server, 0, &at, sizeof at, SOON) == SHM_SUCCESS);
    COMES(many.taken, 5001u);
    CHECK(many.lost_to_client == 0 && many.client_lost == 0);
    /* With losses, which both sides see. */
    many.wait = 1;
    CHECK(shm_multi_server_send_to(server, 0, "first", 5) == SHM_SUCCESS);
    COMES(many.waits, 1u);
    for (at = 1; at < 1000; at++) CHECK(shm_multi_server_send_to(server, 0, &at, sizeof at) == SHM_SUCCESS);
    CHECK(shm_multi_server_try_send_to(server, 0, &at, sizeof at) == SHM_ERROR_FULL);
    CHECK(shm_multi_server_send_to_timeout(server, 0, &at, sizeof at, 0) == SHM_ERROR_FULL);
    CHECK(shm_multi_server_send_to_timeout(server, 0, &at, sizeof at, 1) == SHM_ERROR_TIMEOUT);
    many.wait = 0;
    COMES(many.room, 1u);
    session = shm_multi_server_session(server, 0);
    CHECK(session != 0 && shm_multi_server_stats(server, session, &stats) == SHM_SUCCESS);
    CHECK(stats.sent == 6001 && stats.send_dropped > 900);
    COMES(many.lost_to_client, (unsigned)stats.send_dropped);
    COMES(many.client_lost, (unsigned)stats.send_dropped);
    COMES(many.taken, 6001u - (unsigned)stats.send_dropped);
    CHECK(shm_multi_server_peer(server, session, &pid, user, sizeof user) == SHM_SUCCESS && pid == own_pid() && user[0]);
    CHECK(shm_multi_client_peer(many.client, &pid, user, sizeof user) == SHM_SUCCESS && pid == own_pid());
    CHECK(shm_multi_client_stats(many.client, &client_stats) && client_stats.received_messages == many.taken);

    /* A second client takes nothing. */
    config = xshm_client_config(name);
    CHECK(idle = shm_client_connect(&config, NULL, SOON));
    CHECK(shm_client_slot_id(idle) == 1 && shm_multi_client_slot_id(many.client) == 0);
    for (at = 0; at < 7; at++) CHECK(shm_multi_server_send_to(server, 1, "xx", 2) == SHM_SUCCESS);
    CHECK(shm_multi_server_broadcast_each(server, "to all", 6, results, 2, &count) == SHM_SUCCESS && count == 2);
    CHECK(results[0].result == SHM_SUCCESS && results[0].client_id == 0 && results[0].session == session && results[0].evicted == 0);
    CHECK(results[1].result == SHM_SUCCESS && results[1].client_id == 1 && results[1].evicted == 1);
    CHECK(shm_multi_server_broadcast_each(server, "to all", 6, results, 1, &count) == SHM_ERROR_BUFFER_TOO_SMALL && count == 2);
    CHECK(shm_multi_server_broadcast_each(server, "to all", 6, NULL, 1, &count) == SHM_ERROR_INVALID_PARAM && count == 0);
    CHECK(shm_multi_server_stats(server, 0, &stats) == SHM_ERROR_NOT_CONNECTED);
    shm_client_disconnect(idle);

    /* A restart of the server. */
    shm_multi_server_stop(server);
    COMES(many.ends, 1u);
    CHECK(!shm_multi_client_is_connected(many.client));
    config = xshm_server_config(name);
    CHECK(server = shm_multi_server_start_with_options(&config, &calls, NULL, &options));
    COMES(many.starts, 2u);
    CHECK(shm_multi_client_is_connected(many.client));
    shm_multi_client_disconnect(many.client);
    CHECK(many.ends == 2);
    shm_multi_server_stop(server);
}

/* ------------------------------------------------------------------------------------------------------------------- calls */

static AutoServerHandle *calling_server;
static volatile unsigned kept_is_there;
static shm_call_t kept;

static void calls_start(void *handle, void *user) { (void)user; calling_server = handle; }

static void on_call(shm_call_t call, const void *data, uint32_t size, void *user)
{
    (void)user;
    if (size == 4 && !memcmp(data, "keep", 4)) {
        kept = call;
        kept_is_there = 1;
    } else if (size == 0) {
        CHECK(shm_server_refuse_auto(calling_server, call) == SHM_SUCCESS);
    } else {
        CHECK(shm_server_answer_auto(calling_server, call, data, size) == SHM_SUCCESS);
    }
}

static THREAD answer_later(void *with)
{
    (void)with;
    COMES(kept_is_there, 1u);
    CHECK(shm_server_answer_auto(calling_server, kept, "later", 5) == SHM_SUCCESS);
    return THREAD_END;
}

static THREAD serve_calls(void *with)
{
    ServerHandle *server = with;
    char buffer[64];
    shm_call_t call;
    bool is_call;
    uint32_t size = sizeof buffer;
    CHECK(shm_server_wait_for_client(server, SOON) == SHM_SUCCESS);
    CHECK(shm_server_receive_call(server, buffer, &size, &is_call, &call, SOON) == SHM_SUCCESS);
    CHECK(is_call && size == 5 && !memcmp(buffer, "first", 5));
    CHECK(shm_server_answer(server, call, "answer", 6) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_server_receive_call(server, buffer, &size, &is_call, &call, SOON) == SHM_SUCCESS && is_call);
    CHECK(shm_server_refuse(server, call) == SHM_SUCCESS);
    call.session += 1ull << 32;
    CHECK(shm_server_answer(server, call, "xx", 2) == SHM_ERROR_NOT_CONNECTED);
    return THREAD_END;
}

static void calls(void)
{
    char name[64], buffer[64];
    shm_endpoint_config_t config = config_for(name, "calls");
    shm_callbacks_t callbacks = xshm_server_callbacks_default();
    shm_caller_stats_t stats;
    CallerHandle *caller;
    ServerHandle *server;
    thread_t thread;
    uint32_t size;
    callbacks.on_start = calls_start;
    callbacks.on_call = on_call;
    CHECK(shm_server_start_auto(&config, &callbacks, NULL) == calling_server && calling_server);
    CHECK(caller = shm_caller_connect(&config, NULL, SOON));
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "question", 8, buffer, &size, SOON) == SHM_SUCCESS && size == 8 && !memcmp(buffer, "question", 8));
    size = 3;
    CHECK(shm_caller_call(caller, "question", 8, buffer, &size, SOON) == SHM_ERROR_BUFFER_TOO_SMALL && size == 8);
    size = 4;
    CHECK(shm_caller_last_answer(buffer, &size) == SHM_ERROR_BUFFER_TOO_SMALL && size == 8 && !memcmp(buffer, "ques", 4));
    CHECK(shm_caller_last_answer(NULL, &size) == SHM_ERROR_INVALID_PARAM && size == 0);
    size = 8;
    CHECK(shm_caller_last_answer(buffer, &size) == SHM_SUCCESS && size == 8 && !memcmp(buffer, "question", 8));
    size = 8;
    CHECK(shm_caller_last_answer(buffer, &size) == SHM_ERROR_INVALID_PARAM && size == 0);
    CHECK(shm_caller_last_answer(buffer, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_caller_call(caller, "", 0, buffer, &size, SOON) == SHM_ERROR_NO_ANSWER && size == 0);
    CHECK(shm_caller_call(caller, "keep", 4, NULL, &size, 1) == SHM_ERROR_TIMEOUT);
    COMES(kept_is_there, 1u);
    CHECK(shm_server_answer_auto(calling_server, kept, "late", 4) == SHM_SUCCESS);
    kept_is_there = 0;
    begin(&thread, answer_later, NULL);
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "keep", 4, buffer, &size, SOON) == SHM_SUCCESS && size == 5 && !memcmp(buffer, "later", 5));
    join(thread);
    CHECK(shm_caller_stats(caller, &stats) == SHM_SUCCESS && stats.calls == 5 && stats.answers == 4 && stats.late_answers == 1);
    CHECK(shm_caller_call(NULL, "xx", 2, buffer, &size, 0) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_caller_call(caller, "xx", 2, buffer, NULL, 0) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_caller_interrupt(caller) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "keep", 4, buffer, &size, SOON) == SHM_ERROR_INTERRUPTED);
    CHECK(shm_caller_resume(caller) == SHM_SUCCESS && shm_caller_is_connected(caller));
    shm_server_stop_auto(calling_server);
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "gone", 4, buffer, &size, SOON) == SHM_ERROR_NOT_CONNECTED && !shm_caller_is_connected(caller));
    shm_caller_disconnect(caller);
    shm_caller_disconnect(NULL);

    config = config_for(name, "calls");
    CHECK(server = shm_server_start(&config, NULL));
    begin(&thread, serve_calls, server);
    CHECK(caller = shm_caller_connect(&config, NULL, SOON));
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "first", 5, buffer, &size, SOON) == SHM_SUCCESS && size == 6 && !memcmp(buffer, "answer", 6));
    size = sizeof buffer;
    CHECK(shm_caller_call(caller, "second", 6, buffer, &size, SOON) == SHM_ERROR_NO_ANSWER);
    join(thread);
    shm_caller_disconnect(caller);
    shm_server_stop(server);
}

/* ------------------------------------------------------------------------------------------- connects, events, structures */

struct log {
    volatile unsigned connected, lost, refused;
};

static void on_event(const shm_event_t *event, void *user)
{
    struct log *log = user;
    CHECK(event->struct_size == sizeof *event && event->text && event->text[0]);
    if (event->kind == SHM_EVENT_CONNECTED) {
        CHECK(event->error == SHM_SUCCESS && event->process_id == own_pid() && event->generation > 0);
        ADD(log->connected);
    }
    if (event->kind == SHM_EVENT_LOST) {
        CHECK(event->error == SHM_ERROR_NOT_CONNECTED);
        ADD(log->lost);
    }
    if (event->kind == SHM_EVENT_REFUSED) {
        CHECK(event->error == SHM_ERROR_INCOMPATIBLE);
        ADD(log->refused);
    }
}

struct connecting {
    InterrupterHandle *interrupter;
    char name[64];
    volatile unsigned done;
};

static THREAD connect_for_ever(void *with)
{
    struct connecting *what = with;
    shm_endpoint_config_t config = config_for(what->name, "never");
    shm_options_t options = shm_options_default();
    options.interrupter = what->interrupter;
    CHECK(!shm_client_connect_with_options(&config, NULL, &options, SHM_FOREVER) && shm_last_error() == SHM_ERROR_INTERRUPTED);
    CHECK(!shm_caller_connect(&config, &options, SHM_FOREVER) && shm_last_error() == SHM_ERROR_INTERRUPTED);
    CHECK(!shm_multi_client_connect_with_options(&config, NULL, NULL, &options) && shm_last_error() == SHM_ERROR_INTERRUPTED);
    what->done = 1;
    return THREAD_END;
}

static THREAD accept_until_interrupted(void *with)
{
    struct pair *pair = with;
    CHECK(shm_server_wait_for_client(pair->server, SHM_FOREVER) == SHM_ERROR_INTERRUPTED);
    return THREAD_END;
}

static void connects_and_events(void)
{
    struct connecting what = {0};
    struct log log = {0}, client_log = {0};
    struct pair pair;
    shm_options_t options = shm_options_default();
    shm_endpoint_config_t config;
    thread_t thread;
    CHECK(what.interrupter = shm_interrupter_create());
    begin(&thread, connect_for_ever, &what);
    CHECK(shm_interrupter_interrupt(what.interrupter) == SHM_SUCCESS);
    join(thread);
    CHECK(what.done && shm_interrupter_resume(what.interrupter) == SHM_SUCCESS);
    CHECK(shm_interrupter_interrupt(NULL) == SHM_ERROR_INVALID_PARAM && shm_interrupter_resume(NULL) == SHM_ERROR_INVALID_PARAM);
    shm_interrupter_free(what.interrupter);
    shm_interrupter_free(NULL);

    options.on_event = on_event;
    options.event_user_data = &log;
    open_pair(&pair, "events", &options);
    CHECK(log.connected == 1);
    options.event_user_data = &client_log;
    options.message_limit = 7;
    config = xshm_client_config(pair.name);
    shm_client_disconnect(pair.client);
    CHECK(!shm_server_is_connected(pair.server) && log.lost == 1);
    begin(&thread, accept_until_interrupted, &pair);
    CHECK(!shm_client_connect_with_options(&config, NULL, &options, SOON) && shm_last_error() == SHM_ERROR_INCOMPATIBLE);
    CHECK(client_log.refused == 1);
    CHECK(shm_server_interrupt(pair.server) == SHM_SUCCESS);
    join(thread);
    shm_server_stop(pair.server);
}

static void structures_may_grow(void)
{
    char name[64];
    shm_endpoint_config_t config = config_for(name, "sizes");
    shm_callbacks_t calls = xshm_server_callbacks_default(), zero;
    shm_auto_options_t behaviour = shm_auto_options_default();
    shm_multi_callbacks_t many = shm_multi_callbacks_default();
    struct {
        shm_callbacks_t calls;
        uint64_t of_a_newer_version;
    } longer;
    ServerHandle *server;
    AutoServerHandle *in_background;
    memset(&zero, 0, sizeof zero);
    CHECK(calls.struct_size == sizeof calls && behaviour.struct_size == sizeof behaviour && many.struct_size == sizeof many);
    calls.struct_size = 8;
    CHECK(!shm_server_start(&config, &calls) && shm_last_error() == SHM_ERROR_INVALID_PARAM && says("struct_size"));
    behaviour.struct_size--;
    CHECK(!shm_server_start_auto(&config, NULL, &behaviour) && says("shm_auto_options_default"));
    many.struct_size = 1;
    CHECK(!shm_multi_server_start(name, &many, NULL) && says("shm_multi_callbacks_default"));
    CHECK(server = shm_server_start(&config, &zero));
    shm_server_stop(server);
    memset(&longer, 0xFF, sizeof longer);
    longer.calls = xshm_server_callbacks_default();
    longer.calls.struct_size = sizeof longer;
    behaviour.struct_size = 0;
    CHECK(in_background = shm_server_start_auto(&config, &longer.calls, &behaviour));
    CHECK(!shm_server_is_connected_auto(in_background));
    shm_server_stop_auto(in_background);
}

int main(void)
{
    event_loops();
    figures_beside_blocked_calls();
    one_code_for_nothing();
    many_clients();
    calls();
    connects_and_events();
    structures_may_grow();
    printf("%u checks passed\n", checks);
    return 0;
}
