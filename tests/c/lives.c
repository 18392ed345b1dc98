/*
 * Sessions one after the other on one handle, while other threads use it; callbacks when a handle is stopped; messages that are
 * addressed to one session. Exits with 0, or prints the check that failed. There is one process: the peers are threads.
 */
#include "xshm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "platform.h"

static char name_[64];

static shm_endpoint_config_t config_for(const char *test)
{
    sprintf(name_, "xshm.lives.%u.%.20s", own_pid(), test);
    return xshm_server_config(name_);
}

static int comes(volatile unsigned *count, unsigned at_least)
{
    unsigned waited;
    for (waited = 0; waited < 10000 && *count < at_least; waited += 2) pause_ms(2);
    return *count >= at_least;
}

/* ---------------------------------------------------------------------------------------------- servers and clients */

/* How a client reaches the server: by its name, or by its handles. In the last two kinds, all sessions use one section. */
enum kind { NAMED, GIVEN_OUT, ANONYMOUS, KINDS };

struct pair {
    enum kind kind;
    shm_endpoint_config_t config;
    shm_client_handles_t handles;
    ServerHandle *server;
    ClientHandle *client;
};

static void start(struct pair *pair, const char *test, enum kind kind, const shm_callbacks_t *calls, bool reject)
{
    shm_options_t options = shm_options_default();
    options.reject_when_full = reject;
    options.anonymous_events = true;
    pair->kind = kind;
    pair->config = config_for(test);
    pair->client = NULL;
    pair->server = kind == ANONYMOUS ? shm_server_start_anonymous(0, calls, &options)
                                     : shm_server_start_with_options(&pair->config, calls, &options);
    CHECK(pair->server);
    if (kind != NAMED) CHECK(shm_server_client_handles(pair->server, &pair->handles) == SHM_SUCCESS);
}

static THREAD open_client(void *with)
{
    struct pair *pair = with;
    pair->client = pair->kind == ANONYMOUS ? shm_client_attach_handles(&pair->handles, NULL, NULL, 10000)
                                           : shm_client_connect(&pair->config, NULL, 10000);
    return THREAD_END;
}

static void connect_next(struct pair *pair)
{
    thread_t thread;
    begin(&thread, open_client, pair);
    CHECK(shm_server_wait_for_client(pair->server, 10000) == SHM_SUCCESS);
    join(thread);
    CHECK(pair->client);
}

static void leave(struct pair *pair)
{
    shm_client_disconnect(pair->client);
    pair->client = NULL;
}

/* ------------------------------------------------------------------------------------------------------- the checks */

static void what_results_are_after_a_failure(void)
{
    char buffer[8];
    char text[8] = "before";
    const void *data = buffer;
    void *place = buffer;
    uint32_t count = 5, size = 7, sent = 7, process = 7;
    shm_message_t messages[5];
    shm_stats_t stats;
    shm_auto_stats_t figures;
    shm_event_handles_t events = {7, 7};
    shm_client_handles_t handles;
    const shm_error_t bad = SHM_ERROR_INVALID_PARAM;
    const shm_endpoint_config_t no_text = xshm_server_config("\xff\xfe");

    CHECK(!shm_server_start(&no_text, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(!shm_client_connect(&no_text, NULL, 0) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(shm_server_receive_batch(NULL, buffer, 8, messages, &count, 0) == bad && count == 0);
    count = 5;
    CHECK(shm_client_receive_batch(NULL, buffer, 8, messages, &count, 0) == bad && count == 0);
    CHECK(shm_server_borrow(NULL, &data, &size, 0) == bad && data == NULL && size == 0);
    data = buffer, size = 7;
    CHECK(shm_client_borrow(NULL, &data, &size, 0) == bad && data == NULL && size == 0);
    CHECK(shm_server_reserve(NULL, 8, &place) == bad && place == NULL);
    place = buffer;
    CHECK(shm_client_reserve(NULL, 8, &place) == bad && place == NULL);
    CHECK(shm_server_send_batch(NULL, NULL, 0, &sent) == bad && sent == 0);
    sent = 7;
    CHECK(shm_client_try_send_batch(NULL, NULL, 0, &sent) == bad && sent == 0);
    sent = 7;
    CHECK(shm_multi_server_broadcast(NULL, "xx", 2, &sent) == bad && sent == 0);
    sent = 7;
    CHECK(shm_multi_server_get_clients(NULL, NULL, 0, &sent) == bad && sent == 0);
    CHECK(shm_server_peer(NULL, &process, text, sizeof text) == bad && process == 0 && text[0] == 0);
    process = 7, text[0] = 'b';
    CHECK(shm_client_peer(NULL, &process, text, sizeof text) == bad && process == 0 && text[0] == 0);
    memset(&stats, 7, sizeof stats);
    CHECK(shm_server_stats(NULL, &stats) == bad && stats.generation == 0 && stats.sleeps == 0);
    memset(&stats, 7, sizeof stats);
    CHECK(shm_client_stats(NULL, &stats) == bad && stats.generation == 0 && stats.sleeps == 0);
    memset(&figures, 7, sizeof figures);
    CHECK(!shm_server_stats_auto(NULL, &figures) && figures.sent_messages == 0);
    memset(&figures, 7, sizeof figures);
    CHECK(!shm_client_stats_auto(NULL, &figures) && figures.receive_overflows == 0);
    CHECK(!shm_server_get_event_handles(NULL, &events) && events.s2c_data == 0 && events.c2s_data == 0);
    CHECK(shm_server_client_handles(NULL, &handles) == bad && handles.section == -1 && handles.disconnect == -1);
    text[0] = 'b';
    CHECK(shm_multi_server_channel_name(NULL, 0, text, sizeof text) == 0 && text[0] == 0);
    CHECK(shm_multi_server_session(NULL, 0) == 0 && shm_server_session_auto(NULL) == 0);
    CHECK(shm_multi_server_send_to_session(NULL, 1, "xx", 2) == bad);
    CHECK(shm_multi_server_try_send_to_session(NULL, 1, "xx", 2) == bad);
    CHECK(shm_multi_server_disconnect_session(NULL, 1) == bad);
    CHECK(shm_server_send_to_session_auto(NULL, 1, "xx", 2) == bad);
    CHECK(shm_server_request_stop_auto(NULL) == bad && shm_server_stop_timeout_auto(NULL, 0) == bad);
    CHECK(shm_client_request_disconnect_auto(NULL) == bad && shm_client_disconnect_timeout_auto(NULL, 0) == bad);
    CHECK(shm_multi_server_request_stop(NULL) == bad && shm_multi_server_stop_timeout(NULL, 0) == bad);
    CHECK(shm_multi_client_request_disconnect(NULL) == bad && shm_multi_client_disconnect_timeout(NULL, 0) == bad);
}

static volatile unsigned errors, ends;
static volatile int how;
static void on_error(shm_error_t code, void *user) { (void)code, (void)user; ADD(errors); }
static void on_end(void *user) { (void)user; how = shm_last_error(); ADD(ends); }

struct accepting {
    ServerHandle *server;
    uint32_t timeout;
    volatile int code;
    volatile unsigned began;
};

static THREAD accept_next(void *with)
{
    struct accepting *accepting = with;
    ADD(accepting->began);
    accepting->code = shm_server_wait_for_client(accepting->server, accepting->timeout);
    return THREAD_END;
}

/* One thread waits for the next client; another one receives what the last one left. */
static void what_a_client_left_is_received_while_the_next_is_waited_for(enum kind kind)
{
    struct pair pair;
    struct accepting accepting = {NULL, 10000, 1, 0};
    shm_callbacks_t calls = xshm_server_callbacks_default();
    shm_stats_t stats;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    thread_t thread, next;
    unsigned before = ends;
    calls.on_error = on_error;
    calls.on_disconnect = on_end;
    start(&pair, "left", kind, &calls, false);
    connect_next(&pair);
    CHECK(shm_client_send(pair.client, "hello", 5) == SHM_SUCCESS);
    leave(&pair);
    accepting.server = pair.server;
    begin(&thread, accept_next, &accepting);
    /* The callback is called with the end before the next client connects. */
    CHECK(comes(&ends, before + 1) && how == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_stats(pair.server, &stats) == SHM_SUCCESS && stats.receive_depth == 1);
    CHECK(shm_server_try_receive(pair.server, buffer, &size) == SHM_SUCCESS && size == 5);
    size = sizeof buffer;
    CHECK(shm_server_try_receive(pair.server, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_send(pair.server, "xx", 2) == SHM_ERROR_NOT_CONNECTED);
    begin(&next, open_client, &pair);
    join(next);
    join(thread);
    CHECK(pair.client && accepting.code == SHM_SUCCESS && errors == 0 && ends == before + 1);
    CHECK(shm_client_send(pair.client, "again", 5) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_server_receive(pair.server, buffer, &size) == SHM_SUCCESS && memcmp(buffer, "again", 5) == 0);
    leave(&pair);
    shm_server_stop(pair.server);
}

/* The address of a message in place stays valid after its session, and reaches no later session. */
static void what_is_written_in_place_reaches_no_later_session(enum kind kind)
{
    struct pair pair;
    void *place;
    uint8_t buffer[64];
    uint32_t size;
    start(&pair, "reserve", kind, NULL, true);
    connect_next(&pair);
    CHECK(shm_server_reserve(pair.server, 8, &place) == SHM_SUCCESS);
    memcpy(place, "in place", 8);
    CHECK(shm_server_commit(pair.server) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_client_receive(pair.client, buffer, &size) == SHM_SUCCESS && size == 8 && !memcmp(buffer, "in place", 8));
    CHECK(shm_server_reserve(pair.server, 16, &place) == SHM_SUCCESS);
    leave(&pair);
    connect_next(&pair);
    CHECK(shm_server_send(pair.server, "the next client's", 17) == SHM_SUCCESS);
    memset(place, 'X', 16);
    CHECK(shm_server_commit(pair.server) == SHM_ERROR_INVALID_PARAM);
    memset(buffer, 0, sizeof buffer);
    size = sizeof buffer;
    CHECK(shm_client_receive(pair.client, buffer, &size) == SHM_SUCCESS && size == 17);
    CHECK(!memcmp(buffer, "the next client's", 17));
    size = sizeof buffer;
    CHECK(shm_client_try_receive(pair.client, buffer, &size) == SHM_ERROR_EMPTY);
    CHECK(shm_server_is_connected(pair.server));
    leave(&pair);
    shm_server_stop(pair.server);
}

static void what_is_read_in_place_stays_as_it_is(enum kind kind)
{
    struct pair pair;
    const void *data;
    uint8_t buffer[64];
    uint32_t size;
    start(&pair, "borrow", kind, NULL, true);
    connect_next(&pair);
    CHECK(shm_client_send(pair.client, "the first client's", 18) == SHM_SUCCESS);
    CHECK(shm_server_borrow(pair.server, &data, &size, 5000) == SHM_SUCCESS && size == 18);
    leave(&pair);
    connect_next(&pair);
    CHECK(shm_client_send(pair.client, "the second client's", 19) == SHM_SUCCESS);
    CHECK(!memcmp(data, "the first client's", 18));
    CHECK(shm_server_release(pair.server) == SHM_ERROR_INVALID_PARAM);
    size = sizeof buffer;
    CHECK(shm_server_receive(pair.server, buffer, &size) == SHM_SUCCESS && size == 19);
    CHECK(shm_client_send(pair.client, "borrowed and released", 21) == SHM_SUCCESS);
    CHECK(shm_server_borrow(pair.server, &data, &size, 5000) == SHM_SUCCESS && size == 21);
    CHECK(!memcmp(data, "borrowed and released", 21));
    CHECK(shm_server_release(pair.server) == SHM_SUCCESS);
    CHECK(shm_server_release(pair.server) == SHM_ERROR_INVALID_PARAM);
    leave(&pair);
    shm_server_stop(pair.server);
}

/* A server whose handles were requested uses its section again. It refuses the request while a message is written or read in
   place. */
static void handles_are_not_given_while_a_message_is_in_place(void)
{
    struct pair pair;
    shm_event_handles_t events;
    void *place;
    const void *data;
    uint32_t size;
    start(&pair, "give", NAMED, NULL, true);
    connect_next(&pair);
    CHECK(shm_server_reserve(pair.server, 8, &place) == SHM_SUCCESS);
    CHECK(!shm_server_get_event_handles(pair.server, &events) && shm_last_error() == SHM_ERROR_NOT_READY);
    CHECK(shm_server_section_handle(pair.server) == 0 && shm_last_error() == SHM_ERROR_NOT_READY);
    CHECK(shm_server_client_handles(pair.server, &pair.handles) == SHM_ERROR_NOT_READY);
    CHECK(shm_server_commit(pair.server) == SHM_SUCCESS);
    CHECK(shm_client_send(pair.client, "borrowed", 8) == SHM_SUCCESS);
    CHECK(shm_server_borrow(pair.server, &data, &size, 5000) == SHM_SUCCESS);
    CHECK(shm_server_client_handles(pair.server, &pair.handles) == SHM_ERROR_NOT_READY);
    CHECK(shm_server_release(pair.server) == SHM_SUCCESS);
    /* A later send discards the reservation, so the request succeeds. */
    CHECK(shm_server_reserve(pair.server, 8, &place) == SHM_SUCCESS);
    CHECK(shm_server_send(pair.server, "sent", 4) == SHM_SUCCESS);
    CHECK(shm_server_client_handles(pair.server, &pair.handles) == SHM_SUCCESS);
    CHECK(shm_server_reserve(pair.server, 8, &place) == SHM_SUCCESS);
    CHECK(shm_server_get_event_handles(pair.server, &events));
    leave(&pair);
    connect_next(&pair);
    memset(place, 'X', 8);
    leave(&pair);
    shm_server_stop(pair.server);
}

static volatile unsigned begins;
static void on_begin(void *user) { (void)user; ADD(begins); }

static volatile unsigned sessions_to_come;

static THREAD connect_and_leave(void *with)
{
    struct pair *pair = with;
    for (; sessions_to_come > 0; sessions_to_come--) {
        ClientHandle *client = shm_client_connect(&pair->config, NULL, 10000);
        CHECK(client);
        shm_client_disconnect(client);
    }
    return THREAD_END;
}

/* The end of each session is reported once, with its reason. */
static void each_session_ends_once(unsigned sessions)
{
    struct pair pair;
    thread_t thread;
    shm_callbacks_t calls = xshm_server_callbacks_default();
    uint8_t buffer[4];
    uint32_t size = sizeof buffer;
    unsigned before = ends, began = begins;
    calls.on_connect = on_begin;
    calls.on_disconnect = on_end;
    start(&pair, "once", NAMED, &calls, false);
    sessions_to_come = sessions;
    begin(&thread, connect_and_leave, &pair);
    while (sessions_to_come > 0) (void)shm_server_wait_for_client(pair.server, 1);
    join(thread);
    CHECK(shm_server_wait_for_client(pair.server, 0) == SHM_ERROR_TIMEOUT);
    CHECK(begins - began == sessions && ends - before == sessions && how == SHM_ERROR_NOT_CONNECTED);
    /* The server itself ended the session. */
    connect_next(&pair);
    CHECK(shm_server_disconnect_client(pair.server) == SHM_SUCCESS);
    CHECK(shm_server_try_receive(pair.server, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    CHECK(ends - before == sessions + 1 && how == SHM_ERROR_INTERRUPTED);
    leave(&pair);
    shm_server_stop(pair.server);
}

static volatile unsigned discarded;
static void on_discarded(shm_direction_t direction, uint32_t count, void *user)
{
    (void)user;
    CHECK(direction == SHM_DIR_CLIENT_TO_SERVER);
    discarded += count;
}

/* Messages that the server did not receive before the next session began are lost, and counted. */
static void what_the_next_session_discards_is_reported(enum kind kind)
{
    struct pair pair;
    shm_callbacks_t calls = xshm_server_callbacks_default();
    uint8_t buffer[4];
    uint32_t size = sizeof buffer;
    int sent;
    discarded = 0;
    calls.on_overflow = on_discarded;
    start(&pair, "discards", kind, &calls, false);
    connect_next(&pair);
    for (sent = 0; sent < 5; sent++) CHECK(shm_client_send(pair.client, "abc", 3) == SHM_SUCCESS);
    leave(&pair);
    CHECK(shm_server_try_receive(pair.server, buffer, &size) == SHM_SUCCESS && discarded == 0);
    connect_next(&pair);
    CHECK(discarded == 4);
    leave(&pair);
    connect_next(&pair);
    CHECK(discarded == 4);
    /* More messages than the queue holds: evicted messages count as lost too, received ones do not. */
    for (sent = 0; sent < 1000; sent++) CHECK(shm_client_send(pair.client, "abc", 3) == SHM_SUCCESS);
    leave(&pair);
    connect_next(&pair);
    CHECK(discarded == 4 + 1000);
    leave(&pair);
    shm_server_stop(pair.server);
}

/* A client whose session the server has ended does not delay the next client, which connects by the name. */
static void the_next_client_after_a_disconnect(void)
{
    struct pair pair;
    ClientHandle *first;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    start(&pair, "away", NAMED, NULL, false);
    connect_next(&pair);
    first = pair.client;
    CHECK(shm_server_send(pair.server, "first", 5) == SHM_SUCCESS);
    CHECK(shm_server_disconnect_client(pair.server) == SHM_SUCCESS);
    connect_next(&pair);
    CHECK(shm_server_send(pair.server, "second", 6) == SHM_SUCCESS);
    CHECK(shm_client_receive(first, buffer, &size) == SHM_SUCCESS && size == 5);
    size = sizeof buffer;
    CHECK(shm_client_receive(first, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    size = sizeof buffer;
    CHECK(shm_client_receive(pair.client, buffer, &size) == SHM_SUCCESS && size == 6);
    shm_client_disconnect(first);
    CHECK(shm_server_is_connected(pair.server));
    leave(&pair);
    shm_server_stop(pair.server);
}

static THREAD resume_again_and_again(void *with)
{
    struct accepting *accepting = with;
    unsigned round;
    ADD(accepting->began);
    for (round = 0; round < 3; round++) CHECK(shm_server_resume(accepting->server) == SHM_SUCCESS);
    return THREAD_END;
}

/* Calls that are in progress when a handle is stopped end, even if resume was called just before. */
static void a_stop_beside_resume_ends(unsigned rounds)
{
    unsigned round;
    for (round = 0; round < rounds; round++) {
        shm_endpoint_config_t config = config_for("resume");
        struct accepting accepting = {NULL, SHM_FOREVER, 1, 0};
        thread_t waits, resumes;
        accepting.server = shm_server_start(&config, NULL);
        CHECK(accepting.server);
        begin(&waits, accept_next, &accepting);
        CHECK(comes(&accepting.began, 1));
        begin(&resumes, resume_again_and_again, &accepting);
        CHECK(comes(&accepting.began, 2));
        join(resumes);
        pause_ms(1);
        shm_server_stop(accepting.server);
        join(waits);
        CHECK(accepting.code == SHM_ERROR_INTERRUPTED);
    }
}

/* ------------------------------------------------------------------------------------------------- background handles */

/* Memory that a callback may free as soon as it has stopped its handle. A sanitizer finds a callback that comes later. */
struct state {
    AutoServerHandle *server;
    MultiServerHandle *multi;
    char text[32];
};

static volatile unsigned stopped;

static void stop_and_free(struct state *state)
{
    if (state->server) shm_server_stop_auto(state->server);
    if (state->multi) shm_multi_server_stop(state->multi);
    memset(state, 0xEE, sizeof *state);
    free(state);
    ADD(stopped);
}

static void stop_on_message(shm_direction_t way, const void *data, uint32_t size, void *user)
{
    (void)way, (void)data, (void)size;
    stop_and_free(user);
}

static void read_state(void *user) { CHECK(strcmp(((struct state *)user)->text, "alive") == 0); }

static void stop_on_client_message(uint32_t id, const void *data, uint32_t size, void *user)
{
    (void)id, (void)data, (void)size;
    stop_and_free(user);
}

static void read_state_of(uint32_t id, void *user)
{
    (void)id;
    read_state(user);
}

static void a_callback_that_stops_its_handle_is_the_last(void)
{
    struct state *state = calloc(1, sizeof *state);
    shm_endpoint_config_t config = config_for("last");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    shm_multi_callbacks_t many = shm_multi_callbacks_default();
    ClientHandle *client;
    MultiClientHandle *one, *other;
    CHECK(state);
    strcpy(state->text, "alive");
    calls.on_message = stop_on_message;
    calls.on_connect = calls.on_disconnect = read_state;
    calls.user_data = state;
    state->server = shm_server_start_auto(&config, &calls, NULL);
    CHECK(state->server);
    client = shm_client_connect(&config, NULL, 10000);
    CHECK(client);
    CHECK(shm_client_send(client, "stop", 4) == SHM_SUCCESS);
    CHECK(comes(&stopped, 1));
    {
        uint8_t buffer[4];
        uint32_t size = sizeof buffer;
        CHECK(shm_client_receive(client, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    }
    shm_client_disconnect(client);

    state = calloc(1, sizeof *state);
    CHECK(state);
    strcpy(state->text, "alive");
    many.on_message = stop_on_client_message;
    many.on_client_connect = many.on_client_disconnect = read_state_of;
    many.user_data = state;
    config = config_for("last.many");
    state->multi = shm_multi_server_start(config.name, &many, NULL);
    CHECK(state->multi);
    one = shm_multi_client_connect(config.name, NULL, NULL);
    other = shm_multi_client_connect(config.name, NULL, NULL);
    CHECK(one && other);
    CHECK(shm_multi_client_send(one, "stop", 4) == SHM_SUCCESS);
    CHECK(comes(&stopped, 2));
    shm_multi_client_disconnect(one);
    shm_multi_client_disconnect(other);
}

static AutoServerHandle *requested;

static void request_on_message(shm_direction_t way, const void *data, uint32_t size, void *user)
{
    (void)way, (void)data, (void)size, (void)user;
    CHECK(shm_server_stop_timeout_auto(requested, 1000) == SHM_ERROR_NOT_READY);
    CHECK(shm_server_request_stop_auto(requested) == SHM_SUCCESS);
}

/* A callback requests the stop, and another thread waits for its end. */
static void a_stop_that_a_callback_requests(void)
{
    shm_endpoint_config_t config = config_for("request");
    shm_callbacks_t calls = xshm_server_callbacks_default();
    ClientHandle *client;
    unsigned before = ends;
    calls.on_message = request_on_message;
    calls.on_disconnect = on_end;
    requested = shm_server_start_auto(&config, &calls, NULL);
    CHECK(requested);
    client = shm_client_connect(&config, NULL, 10000);
    CHECK(client);
    CHECK(shm_client_send(client, "stop", 4) == SHM_SUCCESS);
    CHECK(comes(&ends, before + 1) && how == SHM_ERROR_INTERRUPTED);
    CHECK(shm_server_stop_timeout_auto(requested, 10000) == SHM_SUCCESS);
    CHECK(ends == before + 1);
    shm_client_disconnect(client);
}

static AutoServerHandle *ring[2];
static volatile unsigned entered, returned;

static void stop_the_other(shm_direction_t way, const void *data, uint32_t size, void *user)
{
    AutoServerHandle *other = ring[*(const int *)user];
    (void)way, (void)data, (void)size;
    ADD(entered);
    CHECK(comes(&entered, 2));
    shm_server_stop_auto(other);
    ADD(returned);
}

/* Two handles whose callbacks stop each other. */
static void two_callbacks_that_stop_each_others_handle(void)
{
    static const int others[2] = {1, 0};
    ClientHandle *clients[2];
    int which;
    for (which = 0; which < 2; which++) {
        shm_callbacks_t calls = xshm_server_callbacks_default();
        shm_endpoint_config_t config = config_for(which ? "ring.b" : "ring.a");
        calls.on_message = stop_the_other;
        calls.user_data = (void *)&others[which];
        ring[which] = shm_server_start_auto(&config, &calls, NULL);
        CHECK(ring[which]);
        clients[which] = shm_client_connect(&config, NULL, 10000);
        CHECK(clients[which]);
    }
    for (which = 0; which < 2; which++) CHECK(shm_client_send(clients[which], "stop", 4) == SHM_SUCCESS);
    CHECK(comes(&returned, 2));
    for (which = 0; which < 2; which++) shm_client_disconnect(clients[which]);
}

static ServerHandle *sync_ring[2];

static void stop_the_other_server(void *user)
{
    ServerHandle *other = sync_ring[*(const int *)user];
    ADD(entered);
    CHECK(comes(&entered, 4));
    shm_server_stop(other);
    ADD(returned);
}

static THREAD accept_in_a_ring(void *with)
{
    (void)shm_server_wait_for_client(sync_ring[*(const int *)with], 10000);
    return THREAD_END;
}

/* The same with handles whose callbacks run inside calls of the user. */
static void two_callbacks_that_stop_each_others_server(void)
{
    static const int own[2] = {0, 1}, others[2] = {1, 0};
    shm_endpoint_config_t configs[2];
    char names[2][64];
    ClientHandle *clients[2];
    thread_t threads[2];
    int which;
    for (which = 0; which < 2; which++) {
        shm_callbacks_t calls = xshm_server_callbacks_default();
        configs[which] = config_for(which ? "sync.b" : "sync.a");
        strcpy(names[which], configs[which].name);
        configs[which].name = names[which];
        calls.on_connect = stop_the_other_server;
        calls.user_data = (void *)&others[which];
        sync_ring[which] = shm_server_start(&configs[which], &calls);
        CHECK(sync_ring[which]);
    }
    for (which = 0; which < 2; which++) begin(&threads[which], accept_in_a_ring, (void *)&own[which]);
    for (which = 0; which < 2; which++) {
        clients[which] = shm_client_connect(&configs[which], NULL, 10000);
        CHECK(clients[which]);
    }
    CHECK(comes(&returned, 4));
    for (which = 0; which < 2; which++) join(threads[which]);
    for (which = 0; which < 2; which++) shm_client_disconnect(clients[which]);
}

/* ---------------------------------------------------------------------------------------------- messages for a session */

static volatile unsigned heard;

static void hear(const void *data, uint32_t size, void *user)
{
    (void)user;
    CHECK(size == 4 && !memcmp(data, "mine", 4));
    ADD(heard);
}

static void a_message_for_a_session_reaches_no_other(void)
{
    shm_endpoint_config_t config = config_for("session");
    shm_multi_options_t options = shm_multi_options_default();
    shm_multi_client_callbacks_t calls = shm_multi_client_callbacks_default();
    MultiServerHandle *server;
    MultiClientHandle *first, *second;
    AutoServerHandle *automatic;
    ClientHandle *client;
    uint64_t gone, here;
    unsigned waited;
    /* With one slot, the second client gets the slot of the first one. */
    options.max_clients = 1;
    calls.on_message = hear;
    server = shm_multi_server_start(config.name, NULL, &options);
    CHECK(server);
    CHECK(shm_multi_server_session(server, 0) == 0);
    first = shm_multi_client_connect(config.name, NULL, NULL);
    CHECK(first);
    gone = shm_multi_server_session(server, 0);
    CHECK(gone != 0 && shm_multi_server_session(server, 1) == 0);
    CHECK(shm_multi_server_send_to_session(server, gone, "for it", 6) == SHM_SUCCESS);
    shm_multi_client_disconnect(first);
    second = shm_multi_client_connect(config.name, &calls, NULL);
    CHECK(second);
    here = shm_multi_server_session(server, 0);
    CHECK(here != 0 && here != gone);
    CHECK(shm_multi_server_send_to_session(server, gone, "not mine", 8) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_multi_server_try_send_to_session(server, gone, "not mine", 8) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_multi_server_disconnect_session(server, gone) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_multi_server_send_to_session(server, 0, "not mine", 8) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_multi_server_try_send_to_session(server, here, "mine", 4) == SHM_SUCCESS);
    CHECK(comes(&heard, 1));
    CHECK(shm_multi_server_disconnect_session(server, here) == SHM_SUCCESS);
    shm_multi_client_disconnect(second);
    shm_multi_server_stop(server);

    config = config_for("session.auto");
    automatic = shm_server_start_auto(&config, NULL, NULL);
    CHECK(automatic && shm_server_session_auto(automatic) == 0);
    client = shm_client_connect(&config, NULL, 10000);
    CHECK(client);
    for (waited = 0, gone = 0; waited < 5000 && gone == 0; waited++) {
        gone = shm_server_session_auto(automatic);
        pause_ms(1);
    }
    CHECK(gone != 0 && shm_server_send_to_session_auto(automatic, gone, "mine", 4) == SHM_SUCCESS);
    shm_client_disconnect(client);
    CHECK(shm_server_send_to_session_auto(automatic, gone, "late", 4) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_send_to_session_auto(automatic, 0, "none", 4) == SHM_ERROR_NOT_CONNECTED);
    shm_server_stop_auto(automatic);
}

int main(int argc, char **argv)
{
    int kind;
    bool briefly = argc > 1 && strcmp(argv[1], "briefly") == 0;
    what_results_are_after_a_failure();
    for (kind = 0; kind < KINDS; kind++) {
        what_a_client_left_is_received_while_the_next_is_waited_for((enum kind)kind);
        what_is_written_in_place_reaches_no_later_session((enum kind)kind);
        what_is_read_in_place_stays_as_it_is((enum kind)kind);
    }
    handles_are_not_given_while_a_message_is_in_place();
    the_next_client_after_a_disconnect();
    for (kind = 0; kind < KINDS; kind++) what_the_next_session_discards_is_reported((enum kind)kind);
    each_session_ends_once(briefly ? 50 : 1000);
    a_stop_beside_resume_ends(briefly ? 20 : 200);
    a_callback_that_stops_its_handle_is_the_last();
    a_stop_that_a_callback_requests();
    two_callbacks_that_stop_each_others_handle();
    two_callbacks_that_stop_each_others_server();
    a_message_for_a_session_reaches_no_other();
    printf("%u checks passed\n", checks);
    return 0;
}
