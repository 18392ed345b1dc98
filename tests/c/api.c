/*
 * Calls every function of xshm.h, with valid and with invalid arguments. Exits with 0, or prints the check that failed.
 *
 * There is one process: the peers are threads. ci/c.sh tests two processes with examples/c/echo.c.
 */
#include "xshm.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "platform.h"

static char name_[64];

/* Returns a name that no other run and no other test has. */
static const char *name_for(const char *test)
{
    sprintf(name_, "xshm.api.%u.%.20s", own_pid(), test);
    return name_;
}

/* Waits until a count of another thread is at least `at_least`. Only reads the count. */
static int comes(volatile unsigned *count, unsigned at_least)
{
    unsigned waited;
    for (waited = 0; waited < 10000 && *count < at_least; waited += 5) pause_ms(5);
    return *count >= at_least;
}

/* ------------------------------------------------------------------------------------------------ a connected pair */

struct opener {
    shm_endpoint_config_t config;
    const shm_callbacks_t *callbacks;
    const shm_options_t *options;
    ClientHandle *client;
};

static THREAD open_client(void *with)
{
    struct opener *opener = with;
    opener->client = shm_client_connect_with_options(&opener->config, opener->callbacks, opener->options, 10000);
    return THREAD_END;
}

static void connect_pair(const char *test, const shm_callbacks_t *server_calls, const shm_callbacks_t *client_calls,
                         const shm_options_t *server_options, ServerHandle **server, ClientHandle **client)
{
    struct opener opener;
    thread_t thread;
    opener.config = xshm_client_config(name_for(test));
    opener.callbacks = client_calls;
    opener.options = NULL;
    opener.client = NULL;
    *server = shm_server_start_with_options(&opener.config, server_calls, server_options);
    CHECK(*server);
    begin(&thread, open_client, &opener);
    CHECK(shm_server_wait_for_client(*server, 10000) == SHM_SUCCESS);
    join(thread);
    *client = opener.client;
    CHECK(*client);
}

/* ------------------------------------------------------------------------------------------------------- the checks */

static void null_everywhere(void)
{
    uint8_t byte = 0;
    uint32_t size = 1;
    const shm_error_t bad = SHM_ERROR_INVALID_PARAM;
    shm_endpoint_config_t nameless = {NULL, 0};

    CHECK(!shm_server_start(NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_server_start(&nameless, NULL) && shm_last_error() == bad);
    CHECK(!shm_server_start_with_options(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_client_connect(NULL, NULL, 0) && shm_last_error() == bad);
    CHECK(!shm_client_connect(&nameless, NULL, 0) && shm_last_error() == bad);
    CHECK(!shm_client_connect_with_options(NULL, NULL, NULL, 0) && shm_last_error() == bad);
    CHECK(!shm_server_start_auto(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_server_start_auto_with_options(NULL, NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_client_connect_auto(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_client_connect_auto_with_options(NULL, NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_multi_server_start(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_multi_server_start_with_options(NULL, NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_multi_client_connect(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_multi_client_connect_with_options(NULL, NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_client_attach(0, NULL, NULL, 0));
    CHECK(!shm_client_attach(-1, NULL, NULL, 0));
    CHECK(!shm_client_attach_handles(NULL, NULL, NULL, 0) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_client_handles(NULL, NULL) == SHM_ERROR_INVALID_PARAM);

    CHECK(shm_server_wait_for_client(NULL, 0) == bad);
    CHECK(shm_server_wait_for_client_noevent(NULL, 0) == bad);
    CHECK(shm_server_disconnect_client(NULL) == bad);
    CHECK(shm_server_try_accept(NULL, NULL) == bad);
    CHECK(shm_server_accept_handles(NULL, NULL, NULL) == bad);
    CHECK(shm_server_room_handles(NULL, NULL) == bad);
    CHECK(shm_server_arm_room(NULL, 2, NULL) == bad);
    CHECK(shm_server_disarm_room(NULL) == bad);
    CHECK(shm_server_send(NULL, &byte, 1) == bad);
    CHECK(shm_server_try_send(NULL, &byte, 1) == bad);
    CHECK(shm_server_send_timeout(NULL, &byte, 1, 0) == bad);
    CHECK(shm_server_receive(NULL, &byte, &size) == bad);
    CHECK(shm_server_try_receive(NULL, &byte, &size) == bad);
    CHECK(shm_server_receive_timeout(NULL, &byte, &size, 0) == bad);
    CHECK(shm_server_poll(NULL, 0) == bad);
    CHECK(shm_server_send_batch(NULL, NULL, 0, NULL) == bad);
    CHECK(shm_server_try_send_batch(NULL, NULL, 0, NULL) == bad);
    CHECK(shm_server_receive_batch(NULL, NULL, 0, NULL, NULL, 0) == bad);
    CHECK(shm_server_reserve(NULL, 2, NULL) == bad);
    CHECK(shm_server_commit(NULL) == bad);
    CHECK(shm_server_borrow(NULL, NULL, NULL, 0) == bad);
    CHECK(shm_server_release(NULL) == bad);
    CHECK(!shm_server_is_connected(NULL));
    CHECK(shm_server_peer(NULL, NULL, NULL, 0) == bad);
    CHECK(shm_server_stats(NULL, NULL) == bad);
    CHECK(shm_server_interrupt(NULL) == bad);
    CHECK(shm_server_resume(NULL) == bad);
    CHECK(!shm_server_get_event_handles(NULL, NULL));
    CHECK(shm_server_section_handle(NULL) == 0);
    shm_server_stop(NULL);

    CHECK(!shm_client_begin_connect(NULL, NULL, NULL) && shm_last_error() == bad);
    CHECK(!shm_client_begin_connect(&nameless, NULL, NULL) && shm_last_error() == bad);
    CHECK(shm_pending_connect_try_finish(NULL, NULL) == bad);
    CHECK(shm_pending_connect_wait_handles(NULL, NULL, NULL) == bad);
    CHECK(shm_pending_connect_give_up(NULL) == bad);
    shm_pending_connect_free(NULL);
    CHECK(shm_client_room_handles(NULL, NULL) == bad);
    CHECK(shm_client_arm_room(NULL, 2, NULL) == bad);
    CHECK(shm_client_disarm_room(NULL) == bad);
    CHECK(shm_client_send(NULL, &byte, 1) == bad);
    CHECK(shm_client_try_send(NULL, &byte, 1) == bad);
    CHECK(shm_client_send_timeout(NULL, &byte, 1, 0) == bad);
    CHECK(shm_client_receive(NULL, &byte, &size) == bad);
    CHECK(shm_client_try_receive(NULL, &byte, &size) == bad);
    CHECK(shm_client_receive_timeout(NULL, &byte, &size, 0) == bad);
    CHECK(shm_client_poll(NULL, 0) == bad);
    CHECK(shm_client_send_batch(NULL, NULL, 0, NULL) == bad);
    CHECK(shm_client_try_send_batch(NULL, NULL, 0, NULL) == bad);
    CHECK(shm_client_receive_batch(NULL, NULL, 0, NULL, NULL, 0) == bad);
    CHECK(shm_client_reserve(NULL, 2, NULL) == bad);
    CHECK(shm_client_commit(NULL) == bad);
    CHECK(shm_client_borrow(NULL, NULL, NULL, 0) == bad);
    CHECK(shm_client_release(NULL) == bad);
    CHECK(!shm_client_is_connected(NULL));
    CHECK(shm_client_peer(NULL, NULL, NULL, 0) == bad);
    CHECK(shm_client_stats(NULL, NULL) == bad);
    CHECK(shm_client_interrupt(NULL) == bad);
    CHECK(shm_client_resume(NULL) == bad);
    shm_client_disconnect(NULL);

    CHECK(shm_server_send_auto(NULL, &byte, 1) == bad);
    CHECK(shm_server_try_send_auto(NULL, &byte, 1) == bad);
    CHECK(shm_server_send_timeout_auto(NULL, &byte, 1, 0) == bad);
    CHECK(!shm_server_stats_auto(NULL, NULL));
    shm_server_stop_auto(NULL);
    CHECK(shm_client_send_auto(NULL, &byte, 1) == bad);
    CHECK(shm_client_try_send_auto(NULL, &byte, 1) == bad);
    CHECK(shm_client_send_timeout_auto(NULL, &byte, 1, 0) == bad);
    CHECK(!shm_client_stats_auto(NULL, NULL));
    shm_client_disconnect_auto(NULL);

    CHECK(shm_multi_server_send_to(NULL, 0, &byte, 1) == bad);
    CHECK(shm_multi_server_try_send_to(NULL, 0, &byte, 1) == bad);
    CHECK(shm_multi_server_broadcast(NULL, &byte, 1, NULL) == bad);
    CHECK(shm_multi_server_disconnect_client(NULL, 0) == bad);
    CHECK(shm_multi_server_client_count(NULL) == 0);
    CHECK(!shm_multi_server_is_client_connected(NULL, 0));
    CHECK(shm_multi_server_get_clients(NULL, NULL, 0, NULL) == bad);
    CHECK(shm_multi_server_channel_name(NULL, 0, NULL, 0) == 0);
    shm_multi_server_stop(NULL);
    CHECK(shm_multi_client_send(NULL, &byte, 1) == bad);
    CHECK(shm_multi_client_try_send(NULL, &byte, 1) == bad);
    CHECK(shm_multi_client_send_timeout(NULL, &byte, 1, 0) == bad);
    CHECK(shm_multi_client_slot_id(NULL) == SHM_NO_CLIENT);
    CHECK(!shm_multi_client_is_connected(NULL));
    shm_multi_client_disconnect(NULL);
}

static void codes_and_versions(void)
{
    int code;
    char text[8];
    CHECK(xshm_version() == XSHM_VERSION);
    for (code = 0; code >= SHM_ERROR_FORKED; code--) {
        CHECK(strlen(shm_error_string(code)) > 0);
        CHECK(strcmp(shm_error_string(code), shm_error_string(12345)) != 0);
    }
    CHECK(strcmp(shm_error_string(1), shm_error_string(-26)) == 0);
    CHECK(strcmp(shm_error_string(INT32_MIN), shm_error_string(INT32_MAX)) == 0);
    /* The text is cut off at the end of the buffer. */
    CHECK(!shm_server_start(NULL, NULL));
    CHECK(shm_last_error_message(NULL, 0) > sizeof text);
    CHECK(shm_last_error_message(NULL, 100) > sizeof text);
    memset(text, 'x', sizeof text);
    CHECK(shm_last_error_message(text, 0) > sizeof text && text[0] == 'x');
    CHECK(shm_last_error_message(text, sizeof text) > sizeof text && strlen(text) == sizeof text - 1);
    CHECK(shm_last_error_message(text, 1) > sizeof text && text[0] == 0);
}

static THREAD no_error_yet(void *with)
{
    *(int *)with = shm_last_error() == SHM_SUCCESS && shm_last_error_message(NULL, 0) == 0;
    return THREAD_END;
}

static void the_last_error_is_the_threads(void)
{
    thread_t thread;
    int none = 0;
    CHECK(!shm_server_start(NULL, NULL));
    begin(&thread, no_error_yet, &none);
    join(thread);
    CHECK(none);
}

/* Whether the description of the last error contains a text. */
static bool says(const char *text)
{
    char message[512];
    shm_last_error_message(message, sizeof message);
    return strstr(message, text) != NULL;
}

static void bad_names_and_options(void)
{
    shm_endpoint_config_t config = xshm_server_config("");
    shm_options_t options = shm_options_default();
    const char *no_user[1] = {"no user at all"};
    char longest[82];
    ServerHandle *server;

    CHECK(!shm_server_start(&config, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    config.name = "back\\slash";
    CHECK(!shm_server_start(&config, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(!shm_client_connect(&config, NULL, 0) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    memset(longest, 'n', 81);
    longest[81] = 0;
    config.name = longest;
    CHECK(!shm_server_start_auto(&config, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(!shm_client_connect_auto(&config, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(!shm_multi_server_start(longest, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    CHECK(!shm_multi_client_connect(longest, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    config.name = "\xff\xfe";
    CHECK(!shm_server_start(&config, NULL) && shm_last_error() == SHM_ERROR_INVALID_NAME);

    config.name = name_for("options");
    config.buffer_bytes = 100000;
    CHECK(!shm_server_start(&config, NULL) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    config.buffer_bytes = 4096;
    server = shm_server_start(&config, NULL);
    CHECK(server);
    CHECK(!shm_server_start(&config, NULL) && shm_last_error() == SHM_ERROR_EXISTS);
    CHECK(!shm_server_start_auto(&config, NULL, NULL) && shm_last_error() == SHM_ERROR_EXISTS);
    CHECK(!shm_multi_server_start(config.name, NULL, NULL) && shm_last_error() == SHM_ERROR_EXISTS);
    /* No server waits for the client, so the call times out. */
    CHECK(!shm_client_connect(&config, NULL, 50) && shm_last_error() == SHM_ERROR_TIMEOUT && says("did not accept"));
    shm_server_stop(server);
    CHECK(!shm_client_connect(&config, NULL, 0) && shm_last_error() == SHM_ERROR_TIMEOUT && says("no server has the name"));
    CHECK(!shm_multi_client_connect_with_options(&config, NULL, &(shm_multi_client_options_t){.lobby_timeout_ms = 0}, NULL));
    CHECK(shm_last_error() == SHM_ERROR_TIMEOUT && says("no server has the name"));

    options.struct_size = 8;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options = shm_options_default();
    options.access = 17;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options.access = SHM_ACCESS_USERS;
    options.user_count = 1;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options.users = no_user;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_NAME);
    options.access = SHM_ACCESS_SECURITY_DESCRIPTOR;
    options.security_descriptor = "no descriptor";
    options.security_descriptor_size = 13;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options.security_descriptor_size = 70000;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options = shm_options_default();
    options.trust = 17;
    CHECK(!shm_client_connect_with_options(&config, NULL, &options, 0) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options = shm_options_default();
    options.message_limit = 1000000;
    CHECK(!shm_server_start_with_options(&config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    CHECK(!shm_server_start_anonymous(3, NULL, NULL) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    {
        shm_multi_options_t multi = shm_multi_options_default();
        CHECK(multi.max_clients == 20);
        multi.max_clients = 0;
        CHECK(!shm_multi_server_start(name_for("none"), NULL, &multi) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    }
}

static struct {
    volatile unsigned connects, disconnects, data, space, errors, messages, overflows, lost;
    volatile shm_error_t how;
} seen;

static void on_connect(void *user) { CHECK(user == &seen); ADD(seen.connects); }
static void on_disconnect(void *user) { CHECK(user == &seen); seen.how = shm_last_error(); ADD(seen.disconnects); }
static void on_data(void *user) { CHECK(user == &seen); ADD(seen.data); }
static void on_space(void *user) { CHECK(user == &seen); ADD(seen.space); }
static void on_error(shm_error_t code, void *user) { CHECK(user == &seen && code < 0); ADD(seen.errors); }
static void on_message(shm_direction_t way, const void *data, uint32_t size, void *user)
{
    CHECK(user == &seen && data && size >= 2 && way == SHM_DIR_CLIENT_TO_SERVER);
    ADD(seen.messages);
}
static void on_overflow(shm_direction_t way, uint32_t count, void *user)
{
    CHECK(user == &seen && count > 0);
    CHECK(way == SHM_DIR_SERVER_TO_CLIENT || way == SHM_DIR_CLIENT_TO_SERVER);
    ADD(seen.overflows);
    seen.lost += count;
}

static shm_callbacks_t all_callbacks(void)
{
    shm_callbacks_t calls = xshm_server_callbacks_default();
    memset(&seen, 0, sizeof seen);
    calls.on_connect = on_connect;
    calls.on_disconnect = on_disconnect;
    calls.on_data_available = on_data;
    calls.on_space_available = on_space;
    calls.on_error = on_error;
    calls.on_message = on_message;
    calls.on_overflow = on_overflow;
    calls.user_data = &seen;
    return calls;
}

static void messages_and_their_sizes(void)
{
    static uint8_t longest[70000], buffer[70000];
    ServerHandle *server;
    ClientHandle *client;
    uint32_t size = 0, pid = 0;
    char user[256] = "?";
    shm_stats_t stats;
    shm_event_handles_t events = {0, 0};

    connect_pair("messages", NULL, NULL, NULL, &server, &client);
    CHECK(shm_server_is_connected(server) && shm_client_is_connected(client));
    CHECK(shm_server_wait_for_client(server, 0) == SHM_ERROR_ALREADY_CONNECTED);
    CHECK(shm_server_wait_for_client_noevent(server, 0) == SHM_ERROR_ALREADY_CONNECTED);

    CHECK(shm_server_send(server, "x", 1) == SHM_ERROR_MESSAGE_TOO_SMALL);
    CHECK(shm_server_send(server, NULL, 0) == SHM_ERROR_MESSAGE_TOO_SMALL);
    CHECK(shm_server_send(server, NULL, 5) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_send(server, longest, 65536) == SHM_ERROR_MESSAGE_TOO_LARGE);
    CHECK(shm_server_send(server, longest, UINT32_MAX) == SHM_ERROR_MESSAGE_TOO_LARGE);
    CHECK(shm_client_poll(client, 0) == SHM_ERROR_EMPTY);
    CHECK(shm_client_poll(client, 1) == SHM_ERROR_TIMEOUT);
    size = sizeof buffer;
    CHECK(shm_client_try_receive(client, buffer, &size) == SHM_ERROR_EMPTY && size == sizeof buffer);
    CHECK(shm_client_receive_timeout(client, buffer, &size, 1) == SHM_ERROR_TIMEOUT);

    memset(longest, 0xa5, sizeof longest);
    CHECK(shm_server_send(server, longest, 65535) == SHM_SUCCESS);
    CHECK(shm_client_poll(client, SHM_FOREVER) == SHM_SUCCESS);
    CHECK(shm_client_receive(client, buffer, NULL) == SHM_ERROR_INVALID_PARAM);
    size = 10;
    CHECK(shm_client_receive(client, NULL, &size) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_receive(client, buffer, &size) == SHM_ERROR_BUFFER_TOO_SMALL && size == 65535);
    size = 0;
    CHECK(shm_client_try_receive(client, NULL, &size) == SHM_ERROR_BUFFER_TOO_SMALL && size == 65535);
    size = sizeof buffer;
    CHECK(shm_client_receive(client, buffer, &size) == SHM_SUCCESS && size == 65535);
    CHECK(memcmp(longest, buffer, 65535) == 0);

    CHECK(shm_client_try_send(client, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_client_send_timeout(client, "cd", 2, UINT32_MAX - 1) == SHM_SUCCESS);
    size = UINT32_MAX;
    CHECK(shm_server_receive_timeout(server, buffer, &size, SHM_FOREVER) == SHM_SUCCESS && size == 2 && buffer[0] == 'a');
    size = sizeof buffer;
    CHECK(shm_server_receive(server, buffer, &size) == SHM_SUCCESS && size == 2 && buffer[0] == 'c');

    CHECK(shm_server_peer(server, &pid, user, sizeof user) == SHM_SUCCESS && pid == own_pid());
    CHECK(shm_client_peer(client, NULL, NULL, 0) == SHM_SUCCESS);
    CHECK(shm_client_peer(client, &pid, user, sizeof user) == SHM_SUCCESS && pid == own_pid() && strlen(user) > 0);
    CHECK(shm_server_stats(server, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_stats(server, &stats) == SHM_SUCCESS && stats.sent == 1 && stats.received == 2);
    CHECK(shm_client_stats(client, &stats) == SHM_SUCCESS && stats.sent == 2 && stats.received == 1);
    CHECK(!shm_server_get_event_handles(server, NULL));
    CHECK(shm_server_get_event_handles(server, &events) && events.s2c_data != events.c2s_data);
    CHECK(shm_server_section_handle(server) != 0);

    /* The client leaves; the server can still receive what it sent. */
    CHECK(shm_client_send(client, "bye", 3) == SHM_SUCCESS);
    shm_client_disconnect(client);
    size = sizeof buffer;
    CHECK(shm_server_receive(server, buffer, &size) == SHM_SUCCESS && size == 3);
    CHECK(shm_server_receive(server, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_send(server, "bye", 3) == SHM_ERROR_NOT_CONNECTED);
    CHECK(!shm_server_is_connected(server));
    CHECK(shm_server_wait_for_client(server, 0) == SHM_ERROR_TIMEOUT);
    CHECK(shm_server_wait_for_client_noevent(server, 1) == SHM_ERROR_TIMEOUT);
    shm_server_stop(server);
}

static void before_the_first_connection(void)
{
    shm_endpoint_config_t config = xshm_server_config(name_for("first"));
    ServerHandle *server = shm_server_start(&config, NULL);
    shm_stats_t stats;
    uint8_t buffer[4];
    uint32_t size = sizeof buffer;
    CHECK(server);
    CHECK(shm_server_send(server, "ab", 2) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_try_send(server, "ab", 2) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_send_timeout(server, "ab", 2, SHM_FOREVER) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_receive(server, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_poll(server, SHM_FOREVER) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_peer(server, NULL, NULL, 0) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_stats(server, &stats) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_disconnect_client(server) == SHM_ERROR_NOT_CONNECTED);
    CHECK(!shm_server_is_connected(server));
    shm_server_stop(server);
}

static void callbacks_inside_the_calls(void)
{
    ServerHandle *server;
    ClientHandle *client;
    shm_callbacks_t calls = all_callbacks();
    shm_options_t options = shm_options_default();
    uint8_t buffer[16];
    uint32_t size, sent;

    options.message_limit = 4;
    connect_pair("callbacks", &calls, NULL, &options, &server, &client);
    CHECK(seen.connects == 1 && seen.disconnects == 0);
    for (sent = 0; sent < 7; sent++) CHECK(shm_server_send(server, "ab", 2) == SHM_SUCCESS);
    CHECK(seen.overflows == 3 && seen.lost == 3);
    CHECK(shm_server_try_send(server, "ab", 2) == SHM_ERROR_FULL);
    CHECK(shm_server_send_timeout(server, "ab", 2, 1) == SHM_ERROR_TIMEOUT && seen.space == 0);
    CHECK(shm_client_send(client, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_server_poll(server, 1000) == SHM_SUCCESS && seen.data == 1);
    /* The client evicts its own messages. The server learns the number when it receives. */
    for (sent = 0; sent < 5; sent++) CHECK(shm_client_send(client, "ab", 2) == SHM_SUCCESS);
    size = sizeof buffer;
    CHECK(shm_server_receive(server, buffer, &size) == SHM_SUCCESS && seen.lost == 5);
    shm_client_disconnect(client);
    for (sent = 0; sent < 4; sent++) {
        size = sizeof buffer;
        if (shm_server_receive(server, buffer, &size) != SHM_SUCCESS) break;
    }
    CHECK(sent == 3 && seen.disconnects == 1 && seen.how == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_receive(server, buffer, &size) == SHM_ERROR_NOT_CONNECTED && seen.disconnects == 1);
    CHECK(seen.errors == 0 && seen.messages == 0);
    shm_server_stop(server);
    CHECK(seen.disconnects == 1);
}

static void a_channel_that_rejects(void)
{
    ServerHandle *server;
    ClientHandle *client;
    shm_options_t options = shm_options_default();
    options.message_limit = 1;
    options.reject_when_full = 1;
    options.spin_us = 0;
    options.receive_timeout_ms = 0;
    options.check_interval_ms = 100;
    options.access = SHM_ACCESS_EVERYONE;
    connect_pair("rejects", NULL, NULL, &options, &server, &client);
    CHECK(shm_client_send(client, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_client_send(client, "ab", 2) == SHM_ERROR_FULL);
    {
        uint8_t buffer[2];
        uint32_t size = 2;
        CHECK(shm_server_receive(server, buffer, &size) == SHM_SUCCESS);
        CHECK(shm_server_receive(server, buffer, &size) == SHM_ERROR_EMPTY);
    }
    CHECK(shm_server_disconnect_client(server) == SHM_SUCCESS);
    CHECK(shm_client_poll(client, SHM_FOREVER) == SHM_ERROR_NOT_CONNECTED);
    shm_client_disconnect(client);
    shm_server_stop(server);
}

static void batches(void)
{
    static uint8_t buffer[65535];
    ServerHandle *server;
    ClientHandle *client;
    shm_message_t out[3] = {{"one", 3}, {"three", 5}, {"seven", 5}}, in[300];
    uint32_t sent = 77, count, i;
    shm_options_t options = shm_options_default();
    shm_callbacks_t calls = all_callbacks();
    unsigned overflows = seen.overflows;
    options.message_limit = 5;
    connect_pair("batches", &calls, NULL, &options, &server, &client);

    CHECK(shm_server_send_batch(server, NULL, 0, &sent) == SHM_SUCCESS && sent == 0);
    CHECK(shm_server_send_batch(server, NULL, 3, &sent) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_send_batch(server, out, 3, NULL) == SHM_SUCCESS);
    sent = 77;
    CHECK(shm_server_try_send_batch(server, out, 3, &sent) == SHM_ERROR_FULL && sent == 2);
    CHECK(shm_server_send_batch(server, out, 3, &sent) == SHM_SUCCESS && sent == 3);
    CHECK(seen.overflows == overflows + 1);
    out[1].size = 65536;
    CHECK(shm_server_send_batch(server, out, 3, &sent) == SHM_ERROR_MESSAGE_TOO_LARGE && sent == 0);
    out[1].size = 1;
    CHECK(shm_server_try_send_batch(server, out, 3, &sent) == SHM_ERROR_MESSAGE_TOO_SMALL && sent == 0);
    out[1].size = 5;

    count = 300;
    CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, in, NULL, 0) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_receive_batch(client, NULL, sizeof buffer, in, &count, 0) == SHM_ERROR_INVALID_PARAM);
    count = 300;
    CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, NULL, &count, 0) == SHM_ERROR_INVALID_PARAM);
    count = 0;
    CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, in, &count, 0) == SHM_ERROR_INVALID_PARAM);
    count = 300;
    CHECK(shm_client_receive_batch(client, buffer, 2, in, &count, 0) == SHM_ERROR_BUFFER_TOO_SMALL && count == 0);
    /* The client sent one, three, seven, one, three, one, three, seven. The last five are left. */
    count = 2;
    CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, in, &count, SHM_FOREVER) == SHM_SUCCESS && count >= 1);
    CHECK(in[0].data == buffer && in[0].size == 3 && memcmp(in[0].data, "one", 3) == 0);
    for (i = count; i < 5; i += count) {
        count = 300;
        CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, in, &count, 0) == SHM_SUCCESS);
    }
    CHECK(i == 5 && in[count - 1].size == 5 && memcmp(in[count - 1].data, "seven", 5) == 0);
    count = 300;
    CHECK(shm_client_receive_batch(client, buffer, sizeof buffer, in, &count, 1) == SHM_ERROR_TIMEOUT && count == 0);

    CHECK(shm_client_try_send_batch(client, out, 3, &sent) == SHM_SUCCESS && sent == 3);
    CHECK(shm_client_send_batch(client, out, 1, NULL) == SHM_SUCCESS);
    count = 300;
    CHECK(shm_server_receive_batch(server, buffer, sizeof buffer, in, &count, 0) == SHM_SUCCESS && count == 4);
    shm_client_disconnect(client);
    count = 300;
    CHECK(shm_server_receive_batch(server, buffer, sizeof buffer, in, &count, SHM_FOREVER) == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_server_send_batch(server, out, 3, &sent) == SHM_ERROR_NOT_CONNECTED && sent == 0);
    shm_server_stop(server);
}

static void in_place(void)
{
    ServerHandle *server;
    ClientHandle *client;
    uint8_t buffer[16];
    void *place = buffer;
    const void *data = buffer;
    uint32_t size = 1;
    shm_options_t options = shm_options_default();
    options.reject_when_full = 1;
    connect_pair("in-place", NULL, NULL, &options, &server, &client);

    CHECK(shm_server_commit(server) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_release(client) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_reserve(server, 5, NULL) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_reserve(server, 1, &place) == SHM_ERROR_MESSAGE_TOO_SMALL && !place);
    CHECK(shm_server_reserve(server, UINT32_MAX, &place) == SHM_ERROR_MESSAGE_TOO_LARGE && !place);
    CHECK(shm_server_reserve(server, 5, &place) == SHM_SUCCESS && place && (uintptr_t)place % 8 == 0);
    memcpy(place, "early", 5);
    CHECK(shm_client_borrow(client, &data, &size, 0) == SHM_ERROR_EMPTY && !data && size == 0);
    CHECK(shm_server_send(server, "other", 5) == SHM_SUCCESS);
    CHECK(shm_server_commit(server) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_server_reserve(server, 5, &place) == SHM_SUCCESS);
    memcpy(place, "place", 5);
    CHECK(shm_server_commit(server) == SHM_SUCCESS);
    CHECK(shm_server_commit(server) == SHM_ERROR_INVALID_PARAM);

    CHECK(shm_client_borrow(client, NULL, &size, 0) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_borrow(client, &data, NULL, 0) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_borrow(client, &data, &size, SHM_FOREVER) == SHM_SUCCESS && size == 5 && memcmp(data, "other", 5) == 0);
    CHECK(shm_client_borrow(client, &data, &size, 0) == SHM_SUCCESS && memcmp(data, "other", 5) == 0);
    CHECK(shm_client_release(client) == SHM_SUCCESS);
    CHECK(shm_client_release(client) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_borrow(client, &data, &size, 0) == SHM_SUCCESS && memcmp(data, "place", 5) == 0);
    size = sizeof buffer;
    CHECK(shm_client_receive(client, buffer, &size) == SHM_SUCCESS && memcmp(buffer, "place", 5) == 0);
    CHECK(shm_client_release(client) == SHM_ERROR_INVALID_PARAM);

    CHECK(shm_client_reserve(client, 2, &place) == SHM_SUCCESS);
    memcpy(place, "ab", 2);
    CHECK(shm_client_commit(client) == SHM_SUCCESS);
    CHECK(shm_server_borrow(server, &data, &size, 0) == SHM_SUCCESS && size == 2 && memcmp(data, "ab", 2) == 0);
    CHECK(shm_server_release(server) == SHM_SUCCESS);
    CHECK(shm_client_reserve(client, 2, &place) == SHM_SUCCESS);
    CHECK(shm_server_disconnect_client(server) == SHM_SUCCESS);
    CHECK(shm_client_commit(client) == SHM_ERROR_NOT_CONNECTED);
    shm_client_disconnect(client);
    shm_server_stop(server);

    connect_pair("in-place-evicting", NULL, NULL, NULL, &server, &client);
    CHECK(shm_server_send(server, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_client_borrow(client, &data, &size, 0) == SHM_ERROR_INVALID_PARAM && !data);
    shm_client_disconnect(client);
    shm_server_stop(server);
}

/* A frame of 3840 x 2160 pixels in RGBA. */
#define FRAME_BYTES 33177600u

static void fill_frame(uint8_t *frame, unsigned number)
{
    uint32_t line;
    for (line = 0; line < 2160; line++) memset(frame + line * (FRAME_BYTES / 2160), (int)((number + line) % 251), FRAME_BYTES / 2160);
}

static int is_frame(const uint8_t *frame, unsigned number)
{
    uint32_t at;
    for (at = 0; at < FRAME_BYTES; at++) {
        if (frame[at] != (number + at / (FRAME_BYTES / 2160)) % 251) return 0;
    }
    return 1;
}

/* Written and read in the section, or, if the program has asked for handles, in copies. */
static void long_messages(int with_copies)
{
    struct opener opener;
    thread_t thread;
    ServerHandle *server;
    ClientHandle *client;
    uint8_t *copy = malloc(FRAME_BYTES);
    void *place = NULL;
    const void *data = NULL;
    unsigned number;
    uint32_t size = 1;
    shm_options_t options = shm_options_default(), old = shm_options_default();
    options.reject_when_full = 1;
    options.max_message_bytes = FRAME_BYTES;
    CHECK(copy);
    memset(&opener, 0, sizeof opener);
    opener.config = xshm_client_config(name_for("long"));

    opener.config.buffer_bytes = 32u << 20;
    CHECK(!shm_server_start_with_options(&opener.config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    CHECK(says("max_message_size") && says("67108864"));
    options.max_message_bytes = 1;
    CHECK(!shm_server_start_with_options(&opener.config, NULL, &options) && shm_last_error() == SHM_ERROR_INVALID_PARAM);
    options.max_message_bytes = FRAME_BYTES;
    opener.config.buffer_bytes = 64u << 20;
    server = shm_server_start_with_options(&opener.config, NULL, &options);
    CHECK(server && shm_server_max_message_bytes(server) == FRAME_BYTES && shm_server_max_message_bytes(NULL) == 0);
    if (with_copies) CHECK(shm_server_section_handle(server) != -1);
    begin(&thread, open_client, &opener);
    CHECK(shm_server_wait_for_client(server, 10000) == SHM_SUCCESS);
    join(thread);
    client = opener.client;
    CHECK(client && shm_client_max_message_bytes(client) == FRAME_BYTES);

    CHECK(shm_server_reserve(server, FRAME_BYTES + 1, &place) == SHM_ERROR_MESSAGE_TOO_LARGE && !place);
    for (number = 0; number < 3; number++) {
        CHECK(shm_server_reserve_timeout(server, FRAME_BYTES, &place, 10000) == SHM_SUCCESS && (uintptr_t)place % 8 == 0);
        CHECK(with_copies || (uintptr_t)place % 64 == 0);
        fill_frame(place, number);
        CHECK(shm_server_commit(server) == SHM_SUCCESS);
        CHECK(shm_client_borrow(client, &data, &size, 10000) == SHM_SUCCESS && size == FRAME_BYTES);
        CHECK(is_frame(data, number) && shm_client_release(client) == SHM_SUCCESS);

        CHECK(shm_client_reserve_timeout(client, FRAME_BYTES, &place, 10000) == SHM_SUCCESS);
        fill_frame(place, number + 100);
        CHECK(shm_client_commit(client) == SHM_SUCCESS);
        CHECK(shm_server_borrow(server, &data, &size, 10000) == SHM_SUCCESS && size == FRAME_BYTES);
        CHECK(is_frame(data, number + 100) && shm_server_release(server) == SHM_SUCCESS);
    }
    /* Copied in and out, with a buffer that is too small at first. */
    fill_frame(copy, 7);
    CHECK(shm_client_send(client, copy, FRAME_BYTES) == SHM_SUCCESS);
    memset(copy, 0, FRAME_BYTES);
    size = 65535;
    CHECK(shm_server_receive(server, copy, &size) == SHM_ERROR_BUFFER_TOO_SMALL && size == FRAME_BYTES);
    CHECK(shm_server_receive(server, copy, &size) == SHM_SUCCESS && size == FRAME_BYTES && is_frame(copy, 7));
    /* Messages of no byte and of one byte. */
    CHECK(shm_client_send(client, NULL, 0) == SHM_SUCCESS && shm_client_send(client, "1", 1) == SHM_SUCCESS);
    size = 0;
    CHECK(shm_server_receive(server, NULL, &size) == SHM_SUCCESS && size == 0);
    CHECK(shm_server_receive(server, NULL, &size) == SHM_ERROR_BUFFER_TOO_SMALL && size == 1);
    CHECK(shm_server_receive(server, copy, &size) == SHM_SUCCESS && size == 1 && copy[0] == '1');
    shm_client_disconnect(client);

    /* A client may demand the number. A program that was compiled with the first header has options without it. */
    options = shm_options_default();
    options.max_message_bytes = 70000;
    old.struct_size = (uint32_t)offsetof(shm_options_t, max_message_bytes);
    old.max_message_bytes = 70000;
    opener.options = &old;
    begin(&thread, open_client, &opener);
    CHECK(shm_server_wait_for_client(server, 10000) == SHM_SUCCESS);
    join(thread);
    CHECK(opener.client && shm_client_max_message_bytes(opener.client) == FRAME_BYTES);
    shm_client_disconnect(opener.client);
    if (!with_copies) {
        opener.options = &options;
        begin(&thread, open_client, &opener);
        while (shm_server_wait_for_client(server, 200) == SHM_SUCCESS) {}
        join(thread);
        CHECK(!opener.client);
    }
    shm_server_stop(server);
    free(copy);
}

struct waiter {
    ServerHandle *server;
    shm_error_t result;
    volatile unsigned inside;
};

static THREAD wait_for_message(void *with)
{
    struct waiter *waiter = with;
    uint8_t buffer[16];
    uint32_t size = sizeof buffer;
    waiter->inside = 1;
    waiter->result = shm_server_receive(waiter->server, buffer, &size);
    return THREAD_END;
}

static THREAD wait_for_client(void *with)
{
    struct waiter *waiter = with;
    waiter->inside = 1;
    waiter->result = shm_server_wait_for_client(waiter->server, SHM_FOREVER);
    return THREAD_END;
}

static void calls_are_ended_from_other_threads(void)
{
    ServerHandle *server;
    ClientHandle *client;
    struct waiter waiter;
    thread_t thread;
    unsigned round;

    connect_pair("ended", NULL, NULL, NULL, &server, &client);
    waiter.server = server;
    waiter.inside = 0;
    begin(&thread, wait_for_message, &waiter);
    CHECK(comes(&waiter.inside, 1));
    CHECK(shm_server_interrupt(server) == SHM_SUCCESS);
    join(thread);
    CHECK(waiter.result == SHM_ERROR_INTERRUPTED);
    CHECK(shm_server_poll(server, 10) == SHM_ERROR_INTERRUPTED);
    CHECK(shm_server_resume(server) == SHM_SUCCESS);
    CHECK(shm_server_poll(server, 10) == SHM_ERROR_TIMEOUT);
    CHECK(shm_client_interrupt(client) == SHM_SUCCESS);
    CHECK(shm_client_poll(client, SHM_FOREVER) == SHM_ERROR_INTERRUPTED);
    CHECK(shm_client_resume(client) == SHM_SUCCESS);

    /* The stop first ends the call of the other thread. That call may sleep by then, or have hardly begun. */
    waiter.inside = 0;
    begin(&thread, wait_for_message, &waiter);
    CHECK(comes(&waiter.inside, 1));
    pause_ms(20);
    shm_server_stop(server);
    join(thread);
    CHECK(waiter.result == SHM_ERROR_INTERRUPTED || waiter.result == SHM_ERROR_NOT_CONNECTED);
    CHECK(shm_client_poll(client, SHM_FOREVER) == SHM_ERROR_NOT_CONNECTED);
    shm_client_disconnect(client);
    for (round = 0; round < 20; round++) {
        shm_endpoint_config_t config = xshm_server_config(name_for("stopped"));
        CHECK(waiter.server = shm_server_start(&config, NULL));
        waiter.inside = 0;
        begin(&thread, wait_for_client, &waiter);
        CHECK(comes(&waiter.inside, 1));
        pause_ms(5 + round % 3);
        shm_server_stop(waiter.server);
        join(thread);
        CHECK(waiter.result == SHM_ERROR_INTERRUPTED);
    }
}

static ServerHandle *stopped_inside;

static void stop_inside(void *user)
{
    ServerHandle *server = stopped_inside;
    (void)user;
    CHECK(shm_server_send(server, "xx", 2) == SHM_ERROR_NOT_CONNECTED);
    stopped_inside = NULL;
    shm_server_stop(server);
}

static void a_callback_stops_its_own_handle(void)
{
    ClientHandle *client;
    shm_callbacks_t calls = xshm_server_callbacks_default();
    uint8_t buffer[4];
    uint32_t size = sizeof buffer;
    calls.on_disconnect = stop_inside;
    connect_pair("inside", &calls, NULL, NULL, &stopped_inside, &client);
    shm_client_disconnect(client);
    CHECK(shm_server_receive(stopped_inside, buffer, &size) == SHM_ERROR_NOT_CONNECTED);
    CHECK(stopped_inside == NULL);
}

struct attached {
    shm_client_handles_t handles;
    ClientHandle *client;
};

static THREAD attach(void *with)
{
    struct attached *attached = with;
    attached->client = attached->handles.s2c_data == -1
                           ? shm_client_attach(attached->handles.section, NULL, NULL, 10000)
                           : shm_client_attach_handles(&attached->handles, NULL, NULL, 10000);
    return THREAD_END;
}

static void anonymous_servers(void)
{
    shm_options_t options = shm_options_default();
    shm_event_handles_t events;
    struct attached attached;
    thread_t thread;
    uint8_t buffer[8];
    for (options.anonymous_events = 0; options.anonymous_events < 2; options.anonymous_events++) {
        uint32_t size = sizeof buffer;
        ServerHandle *server = shm_server_start_anonymous(65536, NULL, &options);
        CHECK(server);
        CHECK(shm_server_client_handles(server, NULL) == SHM_ERROR_INVALID_PARAM);
        CHECK(shm_server_client_handles(server, &attached.handles) == SHM_SUCCESS);
        CHECK((attached.handles.disconnect == -1) == !options.anonymous_events);
        CHECK(shm_server_get_event_handles(server, &events) == (options.anonymous_events != 0));
        begin(&thread, attach, &attached);
        CHECK(options.anonymous_events ? shm_server_wait_for_client(server, 10000) == SHM_SUCCESS
                                       : shm_server_wait_for_client_noevent(server, 10000) == SHM_SUCCESS);
        join(thread);
        CHECK(attached.client);
        CHECK(shm_server_send(server, "hidden", 6) == SHM_SUCCESS);
        CHECK(shm_client_receive(attached.client, buffer, &size) == SHM_SUCCESS && size == 6);
        shm_client_disconnect(attached.client);
        if (options.anonymous_events) {
            /* With events, the section alone is not enough. */
            CHECK(!shm_client_attach(attached.handles.section, NULL, NULL, 0) && shm_last_error() == SHM_ERROR_REFUSED);
        }
        shm_server_stop(server);
    }
}

static void auto_endpoints(void)
{
    shm_callbacks_t calls = all_callbacks();
    shm_auto_options_t options = shm_auto_options_default();
    shm_auto_stats_t stats;
    shm_endpoint_config_t config = xshm_server_config(name_for("auto"));
    AutoServerHandle *server;
    AutoClientHandle *client;

    CHECK(options.wait_timeout_ms == 0 && options.max_send_queue > 0 && options.recv_batch > 0);
    options.reconnect_delay_ms = 1;
    server = shm_server_start_auto(&config, &calls, &options);
    CHECK(server);
    client = shm_client_connect_auto(&config, NULL, NULL);
    CHECK(client);
    CHECK(comes(&seen.connects, 1));
    CHECK(shm_client_send_auto(client, "one", 3) == SHM_SUCCESS);
    CHECK(shm_client_try_send_auto(client, "two", 3) == SHM_SUCCESS);
    CHECK(shm_client_send_timeout_auto(client, "three", 5, 1000) == SHM_SUCCESS);
    CHECK(shm_client_send_auto(client, NULL, 3) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_client_send_auto(client, "x", 1) == SHM_ERROR_MESSAGE_TOO_SMALL);
    CHECK(comes(&seen.messages, 3) && seen.data == 3);
    CHECK(shm_server_send_auto(server, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_server_try_send_auto(server, "ab", 2) == SHM_SUCCESS);
    CHECK(shm_server_send_timeout_auto(server, "ab", 2, 1000) == SHM_SUCCESS);
    CHECK(!shm_server_stats_auto(server, NULL));
    CHECK(shm_server_stats_auto(server, &stats) && stats.sent_messages == 3 && stats.received_messages == 3);
    CHECK(shm_client_stats_auto(client, &stats) && stats.sent_messages == 3);
    shm_client_disconnect_auto(client);
    CHECK(comes(&seen.disconnects, 1) && seen.how == SHM_ERROR_NOT_CONNECTED);
    /* Another client connects, and the server ends its session. */
    client = shm_client_connect_auto_with_options(&config, NULL, NULL, NULL);
    CHECK(client && comes(&seen.connects, 2));
    shm_server_stop_auto(server);
    CHECK(seen.disconnects == 2 && seen.how == SHM_ERROR_INTERRUPTED && seen.errors == 0);
    shm_client_disconnect_auto(client);
}

static AutoClientHandle *auto_inside;
static volatile unsigned auto_stopped;

static void stop_auto_inside(void *user)
{
    (void)user;
    shm_client_disconnect_auto(auto_inside);
    ADD(auto_stopped);
}

static void a_callback_stops_its_own_auto_handle(void)
{
    shm_callbacks_t calls = xshm_client_callbacks_default();
    shm_endpoint_config_t config = xshm_server_config(name_for("auto.in"));
    AutoServerHandle *server = shm_server_start_auto_with_options(&config, NULL, NULL, NULL);
    CHECK(server);
    calls.on_disconnect = stop_auto_inside;
    auto_inside = shm_client_connect_auto(&config, &calls, NULL);
    CHECK(auto_inside);
    /* When the client has connected, it sends its queued messages. */
    CHECK(shm_client_send_timeout_auto(auto_inside, "ab", 2, 10000) == SHM_SUCCESS);
    {
        shm_auto_stats_t stats = {0};
        unsigned waited;
        for (waited = 0; waited < 2000 && stats.received_messages == 0; waited++) {
            CHECK(shm_server_stats_auto(server, &stats));
            pause_ms(5);
        }
        CHECK(stats.received_messages == 1);
    }
    shm_server_stop_auto(server);
    CHECK(comes(&auto_stopped, 1));
}

static struct {
    volatile unsigned connects, disconnects, messages, errors;
    volatile shm_error_t how;
} many;

static void on_client(uint32_t id, void *user) { CHECK(user == &many && id < 2); ADD(many.connects); }
static void on_client_gone(uint32_t id, void *user)
{
    CHECK(user == &many && id < 2);
    many.how = shm_last_error();
    ADD(many.disconnects);
}
static void on_client_message(uint32_t id, const void *data, uint32_t size, void *user)
{
    CHECK(user == &many && id < 2 && size == 5 && memcmp(data, "hello", 5) == 0);
    ADD(many.messages);
}
static void on_client_error(uint32_t id, shm_error_t code, void *user)
{
    (void)id, (void)code;
    CHECK(user == &many);
    ADD(many.errors);
}

static struct {
    volatile unsigned connects, disconnects, messages, errors;
    volatile shm_error_t how;
} one;

static void on_slot(uint32_t slot, void *user) { CHECK(user == &one && slot == 0); ADD(one.connects); }
static void on_over(void *user) { CHECK(user == &one); one.how = shm_last_error(); ADD(one.disconnects); }
static void on_text(const void *data, uint32_t size, void *user)
{
    CHECK(user == &one && size >= 2 && data);
    ADD(one.messages);
}
static void on_fault(shm_error_t code, void *user)
{
    CHECK(user == &one && code < 0);
    ADD(one.errors);
}

static void many_clients(void)
{
    shm_multi_callbacks_t calls = xshm_multi_callbacks_default();
    shm_multi_client_callbacks_t client_calls = xshm_multi_client_callbacks_default();
    shm_multi_options_t options = xshm_multi_options_default();
    shm_multi_client_options_t client_options = xshm_multi_client_options_default();
    shm_options_t channel = shm_options_default();
    shm_endpoint_config_t config;
    MultiServerHandle *server;
    MultiClientHandle *first, *second;
    char text[128], short_text[5];
    uint32_t ids[4] = {9, 9, 9, 9}, actual = 0, sent = 0;

    calls.on_client_connect = on_client;
    calls.on_client_disconnect = on_client_gone;
    calls.on_message = on_client_message;
    calls.on_error = on_client_error;
    calls.user_data = &many;
    client_calls.on_connect = on_slot;
    client_calls.on_disconnect = on_over;
    client_calls.on_message = on_text;
    client_calls.on_error = on_fault;
    client_calls.user_data = &one;
    options.max_clients = 2;
    channel.clients_per_worker = 1;
    config.name = name_for("multi");
    config.buffer_bytes = 65536;
    server = shm_multi_server_start_with_options(&config, &calls, &options, &channel);
    CHECK(server);
    CHECK(shm_multi_server_send_to(server, 0, "hello", 5) == SHM_ERROR_NOT_FOUND);
    CHECK(shm_multi_server_try_send_to(server, 77, "hello", 5) == SHM_ERROR_NOT_FOUND);
    CHECK(shm_multi_server_disconnect_client(server, 0) == SHM_ERROR_NOT_FOUND);
    first = shm_multi_client_connect(config.name, &client_calls, &client_options);
    CHECK(first && shm_multi_client_slot_id(first) == 0 && many.connects == 1 && one.connects == 1);
    second = shm_multi_client_connect_with_options(&config, NULL, NULL, NULL);
    CHECK(second && shm_multi_client_slot_id(second) == 1 && many.connects == 2);
    CHECK(!shm_multi_client_connect(config.name, NULL, NULL) && shm_last_error() == SHM_ERROR_NO_SLOT);
    CHECK(shm_multi_server_client_count(server) == 2);
    CHECK(shm_multi_server_is_client_connected(server, 1) && !shm_multi_server_is_client_connected(server, 2));
    CHECK(shm_multi_server_get_clients(server, ids, 4, &actual) == SHM_SUCCESS);
    CHECK(actual == 2 && ids[0] == 0 && ids[1] == 1 && ids[2] == 9);
    CHECK(shm_multi_server_get_clients(server, NULL, 4, &actual) == SHM_ERROR_INVALID_PARAM);
    CHECK(shm_multi_server_get_clients(server, NULL, 0, &actual) == SHM_ERROR_BUFFER_TOO_SMALL && actual == 2);
    CHECK(shm_multi_server_get_clients(server, ids, 4, NULL) == SHM_SUCCESS);
    CHECK(shm_multi_server_channel_name(server, 1, text, sizeof text) == strlen(text) && strlen(text) > 0);
    CHECK(shm_multi_server_channel_name(server, 1, short_text, sizeof short_text) == strlen(text));
    CHECK(memcmp(short_text, text, 4) == 0 && short_text[4] == 0);
    CHECK(shm_multi_server_channel_name(server, 2, text, sizeof text) == 0);

    CHECK(shm_multi_server_send_to(server, 0, "hello", 5) == SHM_SUCCESS);
    CHECK(shm_multi_server_try_send_to(server, 0, "hello", 5) == SHM_SUCCESS);
    CHECK(shm_multi_server_send_to(server, 0, "x", 1) == SHM_ERROR_MESSAGE_TOO_SMALL);
    CHECK(shm_multi_server_broadcast(server, "all", 3, &sent) == SHM_SUCCESS && sent == 2);
    CHECK(shm_multi_server_broadcast(server, "all", 3, NULL) == SHM_SUCCESS);
    CHECK(shm_multi_server_broadcast(server, "x", 1, &sent) == SHM_ERROR_MESSAGE_TOO_SMALL);
    CHECK(comes(&one.messages, 4));
    CHECK(shm_multi_client_send(first, "hello", 5) == SHM_SUCCESS);
    CHECK(shm_multi_client_try_send(second, "hello", 5) == SHM_SUCCESS);
    CHECK(shm_multi_client_send_timeout(second, "hello", 5, 1000) == SHM_SUCCESS);
    CHECK(shm_multi_client_send(first, NULL, 5) == SHM_ERROR_INVALID_PARAM);
    CHECK(comes(&many.messages, 3));

    CHECK(shm_multi_client_is_connected(first));
    CHECK(shm_multi_server_disconnect_client(server, 0) == SHM_SUCCESS);
    CHECK(comes(&one.disconnects, 1) && one.how == SHM_ERROR_NOT_CONNECTED && one.errors == 0);
    CHECK(comes(&many.disconnects, 1) && many.how == SHM_ERROR_INTERRUPTED);
    CHECK(!shm_multi_client_is_connected(first));
    CHECK(shm_multi_client_send(first, "hello", 5) == SHM_ERROR_NOT_CONNECTED);
    shm_multi_client_disconnect(first);
    shm_multi_client_disconnect(second);
    CHECK(comes(&many.disconnects, 2) && many.how == SHM_ERROR_NOT_CONNECTED && many.errors == 0);
    shm_multi_server_stop(server);
    server = shm_multi_server_start(config.name, NULL, NULL);
    CHECK(server);
    shm_multi_server_stop(server);
}

/* ------------------------------------------------------------------------- one handle, used by two threads at once */

enum { LONGEST = 5000, PATIENCE_MS = 20000 };

/* The work of one of two threads that use a handle: one sends, the other receives. */
struct traffic {
    ServerHandle *server; /* NULL: the thread uses the client */
    ClientHandle *client;
    uint32_t count;
    uint32_t done;
    shm_error_t result;
    const char *fault;
};

/* Message `number` begins with its number, from which the rest is calculated. One of 64 messages is long. */
static uint32_t write_message(uint32_t number, uint8_t *place)
{
    const uint32_t size = 4 + number * 7919 % (number % 64 == 0 ? LONGEST - 3 : 200);
    uint32_t at;
    memcpy(place, &number, 4);
    for (at = 4; at < size; at++) place[at] = (uint8_t)(number * 31 + at);
    return size;
}

static THREAD send_all(void *with)
{
    struct traffic *traffic = with;
    uint8_t message[LONGEST];
    for (; traffic->done < traffic->count; traffic->done++) {
        const uint32_t size = write_message(traffic->done, message);
        traffic->result = traffic->server ? shm_server_send_timeout(traffic->server, message, size, PATIENCE_MS)
                                          : shm_client_send_timeout(traffic->client, message, size, PATIENCE_MS);
        if (traffic->result != SHM_SUCCESS) break;
    }
    return THREAD_END;
}

static THREAD receive_all(void *with)
{
    struct traffic *traffic = with;
    uint8_t message[LONGEST], expected[LONGEST];
    for (; traffic->done < traffic->count; traffic->done++) {
        const uint32_t whole = write_message(traffic->done, expected);
        uint32_t size = sizeof message;
        traffic->result = traffic->server
                              ? shm_server_receive_timeout(traffic->server, message, &size, PATIENCE_MS)
                              : shm_client_receive_timeout(traffic->client, message, &size, PATIENCE_MS);
        if (traffic->result != SHM_SUCCESS) break;
        if (size != whole || memcmp(message, expected, whole) != 0) {
            traffic->fault = size >= 4 && memcmp(message, expected, 4) != 0 ? "another message" : "not whole";
            break;
        }
    }
    return THREAD_END;
}

/* Both directions are lossless: every message must arrive, whole and in order. */
static void two_threads_use_one_handle(uint32_t count)
{
    struct traffic all[4];
    thread_t threads[4];
    ServerHandle *server;
    ClientHandle *client;
    unsigned each;

    connect_pair("two", NULL, NULL, NULL, &server, &client);
    for (each = 0; each < 4; each++) {
        memset(&all[each], 0, sizeof all[each]);
        all[each].server = each < 2 ? server : NULL;
        all[each].client = client;
        all[each].count = count;
        begin(&threads[each], each % 2 ? receive_all : send_all, &all[each]);
    }
    for (each = 0; each < 4; each++) join(threads[each]);
    for (each = 0; each < 4; each++) {
        if (all[each].fault || all[each].result != SHM_SUCCESS) {
            fprintf(stderr, "the %s's %s thread, at message %u of %u: %s\n", each < 2 ? "server" : "client",
                    each % 2 ? "receiving" : "sending", (unsigned)all[each].done, (unsigned)count,
                    all[each].fault ? all[each].fault : shm_error_string(all[each].result));
        }
    }
    for (each = 0; each < 4; each++) {
        CHECK(!all[each].fault && all[each].result == SHM_SUCCESS && all[each].done == count);
    }
    /* No further message is there. */
    CHECK(shm_server_poll(server, 0) == SHM_ERROR_EMPTY && shm_client_poll(client, 0) == SHM_ERROR_EMPTY);
    shm_client_disconnect(client);
    shm_server_stop(server);
}

static void the_helpers(void)
{
    shm_endpoint_config_t config = xshm_client_config("name");
    shm_callbacks_t calls = xshm_client_callbacks_default();
    CHECK(strcmp(config.name, "name") == 0 && config.buffer_bytes == 0);
    CHECK(!calls.on_connect && !calls.on_message && !calls.user_data);
    CHECK(xshm_server_auto_options_default().recv_batch == shm_auto_options_default().recv_batch);
    CHECK(shm_server_auto_options_default().recv_batch == shm_auto_options_default().recv_batch);
    CHECK(xshm_client_auto_options_default().recv_batch == shm_auto_options_default().recv_batch);
    CHECK(shm_client_auto_options_default().recv_batch == shm_auto_options_default().recv_batch);
    CHECK(xshm_multi_client_options_default().lobby_timeout_ms == shm_multi_client_options_default().lobby_timeout_ms);
    CHECK(!shm_multi_client_callbacks_default().on_message && !shm_multi_callbacks_default().on_message);
    CHECK(shm_options_default().struct_size == sizeof(shm_options_t));
}

/* The argument "alone" omits all checks that need a peer. "briefly" sends fewer messages. */
int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    the_last_error_is_the_threads();
    null_everywhere();
    codes_and_versions();
    bad_names_and_options();
    before_the_first_connection();
    the_helpers();
    if (strcmp(how, "alone") != 0) {
        messages_and_their_sizes();
        callbacks_inside_the_calls();
        a_channel_that_rejects();
        batches();
        in_place();
        long_messages(0);
        long_messages(1);
        calls_are_ended_from_other_threads();
        a_callback_stops_its_own_handle();
        anonymous_servers();
        auto_endpoints();
        a_callback_stops_its_own_auto_handle();
        many_clients();
        two_threads_use_one_handle(strcmp(how, "briefly") == 0 ? 500 : 100000);
    }
    printf("%u checks passed\n", checks);
    return 0;
}
