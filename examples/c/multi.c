/*
 * A server for many clients:
 *
 *   multi serve NAME       waits for 3 clients, and sends them a broadcast, and 1,000 numbers to each; ends when they have left
 *   multi connect NAME     connects 3 clients, which check that they receive every number
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE 20000
#define CLIENTS 3
#define NUMBERS 1000u /* more than a queue holds: the server has to wait for room */

/* A semaphore, by which callbacks wake main. */
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

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

/* ------------------------------------------------------------------------------------------------------ the server */

typedef struct { semaphore joined, left; } visitors;

static void on_message(uint32_t id, const void *data, uint32_t size, void *user_data)
{
    printf("client %u says: %.*s\n", (unsigned)id, (int)size, (const char *)data);
    semaphore_post(&((visitors *)user_data)->joined);
}

static void on_client_disconnect(uint32_t id, void *user_data)
{
    (void)id;
    semaphore_post(&((visitors *)user_data)->left);
}

static int send_all(MultiServerHandle *server)
{
    shm_broadcast_result_t results[CLIENTS];
    uint32_t ids[CLIENTS], count, each, number;

    /* A broadcast never waits: it evicts the oldest messages of a full queue, and `evicted` is their number. */
    if (shm_multi_server_broadcast_each(server, "welcome", 7, results, CLIENTS, &count) != SHM_SUCCESS) return fail("broadcasting");
    for (each = 0; each < count; each++) {
        printf("broadcast to client %u: %s\n", (unsigned)results[each].client_id, shm_error_string(results[each].result));
    }
    if (shm_multi_server_get_clients(server, ids, CLIENTS, &count) != SHM_SUCCESS) return fail("listing the clients");
    for (number = 0; number < NUMBERS; number++) {
        for (each = 0; each < count; each++) {
            if (shm_multi_server_send_to_timeout(server, ids[each], &number, sizeof number, PATIENCE) != SHM_SUCCESS) {
                return fail("sending");
            }
        }
    }
    return count == CLIENTS ? 0 : 1;
}

static int serve(const char *name)
{
    static visitors all;
    shm_multi_callbacks_t callbacks = shm_multi_callbacks_default();
    MultiServerHandle *server;
    int each, result;

    if (!semaphore_create(&all.joined) || !semaphore_create(&all.left)) return 1;
    callbacks.on_message = on_message;
    callbacks.on_client_disconnect = on_client_disconnect;
    callbacks.user_data = &all;
    server = shm_multi_server_start(name, &callbacks, NULL);
    if (!server) return fail("starting the server");
    for (each = 0; each < CLIENTS; each++) semaphore_wait(&all.joined);
    result = send_all(server);
    for (each = 0; each < CLIENTS && result == 0; each++) semaphore_wait(&all.left);
    shm_multi_server_stop(server);
    return result;
}

/* ----------------------------------------------------------------------------------------------------- the clients */

typedef struct { uint32_t next; int welcomed, failed; semaphore finished; } reader;

static void on_number(const void *data, uint32_t size, void *user_data)
{
    reader *all = user_data;
    uint32_t number;
    if (size != sizeof number) { /* the broadcast */
        all->welcomed = 1;
        return;
    }
    memcpy(&number, data, sizeof number);
    if (number != all->next) all->failed = 1;
    if (++all->next == NUMBERS) semaphore_post(&all->finished);
}

static int run_clients(const char *name)
{
    static reader readers[CLIENTS];
    MultiClientHandle *clients[CLIENTS];
    int each, result = 0;

    for (each = 0; each < CLIENTS; each++) {
        shm_multi_client_callbacks_t callbacks = shm_multi_client_callbacks_default();
        shm_multi_client_options_t options = shm_multi_client_options_default();
        if (!semaphore_create(&readers[each].finished)) return 1;
        callbacks.on_message = on_number;
        callbacks.user_data = &readers[each];
        options.lobby_timeout_ms = PATIENCE;
        clients[each] = shm_multi_client_connect(name, &callbacks, &options);
        if (!clients[each]) return fail("connecting");
        if (shm_multi_client_send(clients[each], "hello", 5) != SHM_SUCCESS) return fail("sending");
    }
    for (each = 0; each < CLIENTS; each++) {
        semaphore_wait(&readers[each].finished);
        printf("client %u received %u numbers\n", (unsigned)shm_multi_client_slot_id(clients[each]), (unsigned)readers[each].next);
        if (readers[each].failed || !readers[each].welcomed) result = 1;
        shm_multi_client_disconnect(clients[each]);
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_clients(argv[2]);
    fprintf(stderr, "usage: multi serve|connect NAME\n");
    return 2;
}
