/*
 * Requests with answers. A server for many clients answers each call; a client waits for its answer:
 *
 *   call serve NAME       answers a text with the same text in capitals, until its client leaves
 *   call connect NAME     calls the server three times
 */
#include "xshm.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE 20000

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

static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

typedef struct {
    MultiServerHandle *server; /* from on_start */
    int failed;
    semaphore left;
} state;

static void on_start(MultiServerHandle *handle, void *user_data) { ((state *)user_data)->server = handle; }

/* This callback answers at once. A program may also keep `call`, and answer later, on any thread. */
static void on_call(uint32_t id, shm_call_t call, const void *data, uint32_t size, void *user_data)
{
    static char answer[SHM_MAX_CALL]; /* one worker calls for up to 30 clients, one at a time */
    state *all = user_data;
    shm_error_t code;
    uint32_t at;

    printf("client %u calls with %u bytes\n", (unsigned)id, (unsigned)size);
    for (at = 0; at < size; at++) answer[at] = (char)toupper(((const unsigned char *)data)[at]);
    code = size > 0 ? shm_multi_server_answer(all->server, call, answer, size) : shm_multi_server_refuse(all->server, call);
    if (code != SHM_SUCCESS) all->failed = fail("answering");
}

static void on_client_disconnect(uint32_t id, void *user_data)
{
    (void)id;
    semaphore_post(&((state *)user_data)->left);
}

static int serve(const char *name)
{
    static state all;
    shm_multi_callbacks_t callbacks = shm_multi_callbacks_default();
    MultiServerHandle *server;

    if (!semaphore_create(&all.left)) return 1;
    callbacks.on_start = on_start;
    callbacks.on_call = on_call;
    callbacks.on_client_disconnect = on_client_disconnect;
    callbacks.user_data = &all;
    server = shm_multi_server_start(name, &callbacks, NULL);
    if (!server) return fail("starting the server");
    semaphore_wait(&all.left);
    shm_multi_server_stop(server);
    return all.failed;
}

static int ask(CallerHandle *caller, const char *question)
{
    static char answer[SHM_MAX_CALL];
    uint32_t size = sizeof answer;
    shm_error_t code = shm_caller_call(caller, question, (uint32_t)strlen(question), answer, &size, PATIENCE);

    if (code == SHM_ERROR_NO_ANSWER) {
        printf("\"%s\": no answer\n", question);
        return 0;
    }
    if (code != SHM_SUCCESS) return fail("calling");
    printf("\"%s\": %.*s\n", question, (int)size, answer);
    return 0;
}

static int run_client(const char *name)
{
    shm_endpoint_config_t config = xshm_client_config(name);
    CallerHandle *caller = shm_caller_connect(&config, NULL, PATIENCE);
    int result;

    if (!caller) return fail("connecting");
    result = ask(caller, "hello") || ask(caller, "") || ask(caller, "world"); /* the server refuses the empty text */
    shm_caller_disconnect(caller);
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_client(argv[2]);
    fprintf(stderr, "usage: call serve|connect NAME\n");
    return 2;
}
