/*
 * An event loop for two channels, NAME.0 and NAME.1: epoll on Linux, WaitForMultipleObjects on Windows. Nothing but the loop waits.
 *
 *   event_loop serve NAME       accepts a client on each channel, and counts their messages, until both have left
 *   event_loop connect NAME     connects to both channels, and sends 1,000 messages to each, with waits for room
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE 20000u
#define CHANNELS 2
#define MESSAGES 1000u

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

/* The system's part. loop_add returns whether it succeeded. loop_wait returns the channel of an object that is ready, or -1. */
#ifdef _WIN32
#include <windows.h>
typedef struct { HANDLE objects[2 * CHANNELS]; int channels[2 * CHANNELS]; DWORD count; } event_loop;
static int loop_create(event_loop *loop) { loop->count = 0; return 1; }
static int loop_add(event_loop *loop, intptr_t object, int channel)
{
    loop->objects[loop->count] = (HANDLE)object;
    loop->channels[loop->count++] = channel;
    return 1;
}
static void loop_remove(event_loop *loop, intptr_t object)
{
    DWORD at;
    for (at = 0; at < loop->count && loop->objects[at] != (HANDLE)object; at++) {}
    if (at == loop->count) return;
    loop->objects[at] = loop->objects[--loop->count];
    loop->channels[at] = loop->channels[loop->count];
}
static int loop_wait(event_loop *loop, uint32_t timeout_ms)
{
    DWORD ready = WaitForMultipleObjects(loop->count, loop->objects, FALSE, timeout_ms) - WAIT_OBJECT_0;
    return ready < loop->count ? loop->channels[ready] : -1;
}
static void loop_close(event_loop *loop) { loop->count = 0; }
#else
#include <sys/epoll.h>
#include <unistd.h>
typedef struct { int epoll; } event_loop;
static int loop_create(event_loop *loop) { return (loop->epoll = epoll_create1(EPOLL_CLOEXEC)) >= 0; }
static int loop_add(event_loop *loop, intptr_t object, int channel)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = channel;
    return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, (int)object, &event) == 0;
}
static void loop_remove(event_loop *loop, intptr_t object) { epoll_ctl(loop->epoll, EPOLL_CTL_DEL, (int)object, NULL); }
static int loop_wait(event_loop *loop, uint32_t timeout_ms)
{
    struct epoll_event event;
    return epoll_wait(loop->epoll, &event, 1, (int)timeout_ms) == 1 ? event.data.fd : -1;
}
static void loop_close(event_loop *loop) { close(loop->epoll); }
#endif

/* A channel opens when the server has accepted a client, or the client has connected. */
typedef enum { OPENING, OPEN, CLOSED } channel_state;

typedef struct {
    channel_state state;
    shm_wait_handles_t handles;       /* what the loop waits for */
    unsigned count;                   /* messages received or sent */
    ServerHandle *server;             /* serve */
    PendingConnectHandle *connecting; /* connect */
    ClientHandle *client;             /* connect */
} channel;

/* What the two programs do differently. None of these functions waits. They return 1 if they fail. */
typedef struct {
    int (*open)(channel *of, uint32_t *next_look); /* stores new `handles` and the time in milliseconds, unless the channel is open */
    int (*wake)(channel *of);                      /* one of the objects of an open channel is ready */
    int (*transfer)(channel *of);                  /* receives or sends until it has to wait, or closes the channel */
} role;

/* ------------------------------------------------------------------------------------------------------------- serve */

static int accept_client(channel *of, uint32_t *next_look)
{
    bool is_accepted;
    if (shm_server_try_accept(of->server, &is_accepted) != SHM_SUCCESS) return fail("accepting a client");
    if (!is_accepted) {
        return shm_server_accept_handles(of->server, &of->handles, next_look) == SHM_SUCCESS ? 0 : fail("getting the objects");
    }
    of->state = OPEN;
    return shm_server_wait_handles(of->server, &of->handles) == SHM_SUCCESS ? 0 : fail("getting the objects");
}

static int wake_receiver(channel *of)
{
    (void)shm_server_is_connected(of->server); /* finds out if the client's process has ended */
    return shm_server_disarm(of->server) == SHM_SUCCESS ? 0 : fail("disarming");
}

/* Receives all messages that are there, and asks the client to signal the next one. */
static int receive(channel *of)
{
    char message[64];
    bool is_ready = true;
    while (is_ready) {
        shm_error_t code;
        uint32_t size = sizeof message;
        while ((code = shm_server_try_receive(of->server, message, &size)) == SHM_SUCCESS) {
            of->count++;
            size = sizeof message;
        }
        if (code == SHM_ERROR_NOT_CONNECTED) { /* the client has left */
            of->state = CLOSED;
            return 0;
        }
        if (code != SHM_ERROR_EMPTY) return fail("receiving");
        if (shm_server_arm(of->server, &is_ready) != SHM_SUCCESS) return fail("arming");
    }
    return 0;
}

/* ----------------------------------------------------------------------------------------------------------- connect */

static int finish_connect(channel *of, uint32_t *next_look)
{
    if (shm_pending_connect_try_finish(of->connecting, &of->client) != SHM_SUCCESS) return fail("connecting");
    if (!of->client) {
        return shm_pending_connect_wait_handles(of->connecting, &of->handles, next_look) == SHM_SUCCESS ? 0 : fail("getting the objects");
    }
    of->state = OPEN;
    return shm_client_room_handles(of->client, &of->handles) == SHM_SUCCESS ? 0 : fail("getting the objects");
}

static int wake_sender(channel *of)
{
    (void)shm_client_is_connected(of->client); /* finds out if the server's process has ended */
    return shm_client_disarm_room(of->client) == SHM_SUCCESS ? 0 : fail("disarming");
}

/* Sends the messages that have room, and asks the server to signal when there is more. */
static int send_all(channel *of)
{
    bool is_ready = true;
    while (is_ready) {
        shm_error_t code = SHM_SUCCESS;
        while (of->count < MESSAGES && (code = shm_client_try_send(of->client, "tick", 4)) == SHM_SUCCESS) of->count++;
        if (of->count == MESSAGES) {
            of->state = CLOSED;
            return 0;
        }
        if (code != SHM_ERROR_FULL) return fail("sending");
        if (shm_client_arm_room(of->client, 4, &is_ready) != SHM_SUCCESS) return fail("arming");
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------------------- the loop */

static int watch(event_loop *loop, const channel *of, int index)
{
    if (loop_add(loop, of->handles.data, index) && (of->handles.peer == -1 || loop_add(loop, of->handles.peer, index))) return 0;
    fprintf(stderr, "an object cannot be added to the loop\n");
    return 1;
}

static void unwatch(event_loop *loop, channel *of)
{
    if (of->handles.data != -1) loop_remove(loop, of->handles.data);
    if (of->handles.peer != -1) loop_remove(loop, of->handles.peer);
    shm_wait_handles_close(&of->handles);
}

/* Goes on with a channel that opens. The objects to wait for are other ones after each step. */
static int step(const role *with, channel *of, event_loop *loop, int index, uint32_t *next_look)
{
    uint32_t look = SHM_FOREVER;
    unwatch(loop, of);
    if (with->open(of, &look)) return 1;
    if (look < *next_look) *next_look = look;
    if (of->state == OPEN && with->transfer(of)) return 1;
    if (of->state != CLOSED) return watch(loop, of, index);
    shm_wait_handles_close(&of->handles);
    return 0;
}

static int run(const role *with, channel *channels)
{
    event_loop loop;
    int index, failed = 0;
    if (!loop_create(&loop)) return 1;
    while (!failed) {
        uint32_t next_look = SHM_FOREVER;
        bool is_done = true;
        for (index = 0; index < CHANNELS && !failed; index++) {
            if (channels[index].state == OPENING) failed = step(with, &channels[index], &loop, index, &next_look);
            if (channels[index].state != CLOSED) is_done = false;
        }
        if (is_done || failed) break;
        index = loop_wait(&loop, next_look == SHM_FOREVER ? PATIENCE : next_look);
        if (index < 0 && next_look == SHM_FOREVER) {
            fprintf(stderr, "nothing has happened for a long time\n");
            failed = 1;
        }
        if (index >= 0 && channels[index].state == OPEN) {
            failed = with->wake(&channels[index]) || with->transfer(&channels[index]);
            if (channels[index].state == CLOSED) unwatch(&loop, &channels[index]);
        }
    }
    loop_close(&loop);
    return failed;
}

int main(int argc, char **argv)
{
    static const role serve = {accept_client, wake_receiver, receive}, connect = {finish_connect, wake_sender, send_all};
    channel channels[CHANNELS];
    int index, result, is_server = argc == 3 && strcmp(argv[1], "serve") == 0;
    if (!is_server && (argc != 3 || strcmp(argv[1], "connect") != 0)) {
        fprintf(stderr, "usage: event_loop serve|connect NAME\n");
        return 2;
    }
    memset(channels, 0, sizeof channels);
    for (index = 0; index < CHANNELS; index++) {
        char name[128];
        shm_endpoint_config_t config = xshm_server_config(name);
        channel *each = &channels[index];
        snprintf(name, sizeof name, "%s.%d", argv[2], index);
        each->handles.data = each->handles.peer = -1;
        if (is_server && !(each->server = shm_server_start(&config, NULL))) return fail("starting a server");
        if (!is_server && !(each->connecting = shm_client_begin_connect(&config, NULL, NULL))) return fail("beginning to connect");
    }
    result = run(is_server ? &serve : &connect, channels);
    for (index = 0; index < CHANNELS; index++) {
        if (result == 0 && is_server) printf("channel %d: %u messages\n", index, channels[index].count);
        shm_wait_handles_close(&channels[index].handles);
        shm_server_stop(channels[index].server);
        shm_pending_connect_free(channels[index].connecting);
        shm_client_disconnect(channels[index].client);
    }
    if (result == 0 && !is_server) printf("%u messages were sent to each channel\n", MESSAGES);
    return result;
}
