/*
 * A server for one client, and its client. Each call waits until it is done:
 *
 *   sync serve NAME       starts the server, receives a message, and answers
 *   sync connect NAME     connects, sends a message, and receives the answer
 */
#include "xshm.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE 20000 /* milliseconds */

/* Prints why the last call failed. Call it first of all: a further call may replace the reason. */
static int fail(const char *doing)
{
    char why[256];
    shm_last_error_message(why, sizeof why);
    fprintf(stderr, "%s: %s (%s)\n", doing, why, shm_error_string(shm_last_error()));
    return 1;
}

static int talk_to_client(ServerHandle *server)
{
    static char message[SHM_MAX_MESSAGE]; /* any message fits */
    uint32_t size = sizeof message;       /* the buffer's before the call, the message's after it */

    if (shm_server_wait_for_client(server, PATIENCE) != SHM_SUCCESS) return fail("waiting for a client");
    if (shm_server_receive_timeout(server, message, &size, PATIENCE) != SHM_SUCCESS) return fail("receiving");
    printf("the client says: %.*s\n", (int)size, message);
    if (shm_server_send_timeout(server, "pong", 4, PATIENCE) != SHM_SUCCESS) return fail("sending");
    return 0;
}

static int serve(const char *name)
{
    shm_endpoint_config_t config = xshm_server_config(name);
    ServerHandle *server = shm_server_start(&config, NULL);
    int result;

    if (!server) return fail("starting the server");
    result = talk_to_client(server);
    shm_server_stop(server); /* the client still receives what was sent */
    return result;
}

static int talk_to_server(ClientHandle *client)
{
    static char message[SHM_MAX_MESSAGE];
    uint32_t size = sizeof message;

    if (shm_client_send_timeout(client, "ping", 4, PATIENCE) != SHM_SUCCESS) return fail("sending");
    if (shm_client_receive_timeout(client, message, &size, PATIENCE) != SHM_SUCCESS) return fail("receiving");
    printf("the server says: %.*s\n", (int)size, message);
    return 0;
}

static int run_client(const char *name)
{
    shm_endpoint_config_t config = xshm_client_config(name);
    ClientHandle *client = shm_client_connect(&config, NULL, PATIENCE); /* waits for the server to start */
    int result;

    if (!client) return fail("connecting");
    result = talk_to_server(client);
    shm_client_disconnect(client);
    return result;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "serve") == 0) return serve(argv[2]);
    if (argc == 3 && strcmp(argv[1], "connect") == 0) return run_client(argv[2]);
    fprintf(stderr, "usage: sync serve|connect NAME\n");
    return 2;
}
