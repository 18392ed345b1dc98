/*
 * A server and a client that work in the background. The library's threads connect, and call the program:
 *
 *   auto serve NAME       answers each message, until its client leaves
 *   auto connect NAME     sends three messages, and waits for the answers
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define MESSAGES 3

/* A semaphore, by which a callback wakes main. */
#ifdef _WIN32
#include <windows.h>
typedef HANDLE semaphore;
static int semaphore_create(semaphore *made) { return (*made = CreateSemaphore(NULL, 0, 1000, NULL)) != NULL; }
static void semaphore_post(semaphore *to) { ReleaseSemaphore(*to, 1, NULL); }
static void semaphore_wait(semaphore *on) { WaitForSingleObject(*on, INFINITE); }
#else
#include <errno.h>
#include <semaphore.h>
typedef sem_t semaphore;
static int semaphore_create(semaphore *made) { return sem_init(made, 0, 0) == 0; }
static void semaphore_post(semaphore *to) { sem_post(to); }
static void semaphore_wait(semaphore *on) { while (sem_wait(on) != 0 && errno == EINTR) {} }
#endif

/* What the callbacks share with main. They run on one thread, one at a time, and main reads `failed` when it has been woken. */
typedef struct {
    AutoServerHandle *server; /* from on_start; NULL in the client */
    int answers, failed;
    semaphore finished;
} state;

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

/* The other callbacks may run before shm_server_start_auto has returned, so they get the handle from here. */
static void on_start(void *handle, void *user_data) { ((state *)user_data)->server = handle; }

static void on_request(shm_direction_t direction, const void *data, uint32_t size, void *user_data)
{
    state *all = user_data;
    (void)direction;
    printf("the client says: %.*s\n", (int)size, (const char *)data);
    if (shm_server_send_auto(all->server, data, size) != SHM_SUCCESS) all->failed = fail("answering");
}

static void on_answer(shm_direction_t direction, const void *data, uint32_t size, void *user_data)
{
    state *all = user_data;
    (void)direction;
    printf("the server answers: %.*s\n", (int)size, (const char *)data);
    if (++all->answers == MESSAGES) semaphore_post(&all->finished);
}

static void on_disconnect(void *user_data) { semaphore_post(&((state *)user_data)->finished); }

static void on_error(shm_error_t error, void *user_data)
{
    (void)error;
    ((state *)user_data)->failed = fail("in the background");
}

static int serve(const char *name)
{
    static state all;
    shm_endpoint_config_t config = xshm_server_config(name);
    shm_callbacks_t callbacks = xshm_server_callbacks_default();
    AutoServerHandle *server;

    if (!semaphore_create(&all.finished)) return 1;
    callbacks.on_start = on_start;
    callbacks.on_message = on_request;
    callbacks.on_disconnect = on_disconnect;
    callbacks.on_error = on_error;
    callbacks.user_data = &all;
    server = shm_server_start_auto(&config, &callbacks, NULL);
    if (!server) return fail("starting the server");
    semaphore_wait(&all.finished);
    shm_server_stop_auto(server); /* no callback runs after this */
    return all.failed;
}

static int run_client(const char *name)
{
    static const char *const words[MESSAGES] = {"one", "two", "three"};
    static state all;
    shm_endpoint_config_t config = xshm_client_config(name);
    shm_callbacks_t callbacks = xshm_client_callbacks_default();
    AutoClientHandle *client;
    int each;

    if (!semaphore_create(&all.finished)) return 1;
    callbacks.on_message = on_answer;
    callbacks.on_error = on_error;
    callbacks.user_data = &all;
    client = shm_client_connect_auto(&config, &callbacks, NULL); /* returns at once */
    if (!client) return fail("connecting");
    for (each = 0; each < MESSAGES; each++) { /* without a connection, messages wait in a queue */
        if (shm_client_send_auto(client, words[each], (uint32_t)strlen(words[each])) != SHM_SUCCESS) return fail("sending");
    }
    semaphore_wait(&all.finished);
    shm_client_disconnect_auto(client);
    return all.failed;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_client(argv[2]);
    fprintf(stderr, "usage: auto serve|connect NAME\n");
    return 2;
}
