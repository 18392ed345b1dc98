/*
 * Loads and unloads the plug-in of plugin.cpp, and ends while it works.
 *   plugin_host PLUGIN CASE
 * The cases are at the end of this file. Each prints its name and exits with 0. "exit" means that main returns, so that the
 * plug-in's static objects are destroyed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform.h"

#ifdef _WIN32
typedef HMODULE library_t;
#define LOAD(path) LoadLibraryA(path)
#define FIND(library, name) ((void (*)(void))(INT_PTR)GetProcAddress(library, name))
#define LOAD_FOR_ALL(path) LoadLibraryA(path)
#define UNLOAD(library) FreeLibrary(library)
#else
#include <dlfcn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
typedef void *library_t;
#define LOAD(path) dlopen(path, RTLD_NOW | RTLD_LOCAL)
#define LOAD_FOR_ALL(path) dlopen(path, RTLD_NOW | RTLD_GLOBAL)
#define UNLOAD(library) (dlclose(library) == 0)
typedef void (*function_t)(void);
static function_t find(library_t library, const char *name)
{
    /* ISO C has no conversion from an object pointer to a function pointer. */
    void *object = dlsym(library, name);
    function_t function;
    memcpy(&function, &object, sizeof function);
    return function;
}
#define FIND(library, name) find(library, name)
#endif

#define CHECK(condition)                                                                                             \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                          \
            _Exit(1);                                                                                                \
        }                                                                                                            \
    } while (0)

static const char *path;

struct plugin {
    library_t library;
    int (*start)(const char *);
    void (*stop)(void), (*receive)(void), (*send)(void);
    int (*wait_in_callbacks)(const char *);
};

static void start(struct plugin *plugin, library_t library)
{
    char name[64];
    static unsigned count;
    CHECK((plugin->library = library) != NULL);
    plugin->start = (int (*)(const char *))FIND(plugin->library, "plugin_start");
    plugin->stop = FIND(plugin->library, "plugin_stop");
    plugin->receive = FIND(plugin->library, "plugin_receive");
    plugin->send = FIND(plugin->library, "plugin_send");
    plugin->wait_in_callbacks = (int (*)(const char *))FIND(plugin->library, "plugin_wait_in_callbacks");
    CHECK(plugin->start && plugin->stop && plugin->receive && plugin->send && plugin->wait_in_callbacks);
    sprintf(name, "xshm.plugin.%u.%u", own_pid(), ++count);
    CHECK(plugin->start(name));
}

static void load(struct plugin *plugin) { start(plugin, LOAD(path)); }

/* The process goes on, and so do its other libraries: it can create threads, use memory and, on Linux, fork. */
static THREAD use_memory(void *with)
{
    unsigned at;
    for (at = 1; at < 1000; at++) {
        char *memory = malloc(64 * at);
        CHECK(memory);
        memset(memory, (int)at, 64 * at);
        free(memory);
    }
    return with ? THREAD_END : THREAD_END;
}

static void process_goes_on(void)
{
    unsigned again;
    for (again = 0; again < 20; again++) {
        thread_t thread;
        begin(&thread, use_memory, NULL);
        use_memory(NULL);
        join(thread);
#ifndef _WIN32
        {
            int status;
            pid_t child = fork();
            if (child == 0) _exit(0);
            CHECK(waitpid(child, &status, 0) == child && status == 0);
        }
#endif
    }
}

static struct plugin plugin;

static void unload_without_stopping(void)
{
    load(&plugin);
    CHECK(UNLOAD(plugin.library));
    process_goes_on();
}

static void stop_and_unload(void)
{
    load(&plugin);
    plugin.stop();
    CHECK(UNLOAD(plugin.library));
    process_goes_on();
}

static void load_again_and_again(void)
{
    unsigned again;
    for (again = 0; again < 20; again++) {
        load(&plugin);
        plugin.stop();
        CHECK(UNLOAD(plugin.library));
    }
    process_goes_on();
}

/* Each time the endpoints go on, or the last ones are stopped: a platform may keep the plug-in loaded. */
static void load_again_without_stopping(void)
{
    unsigned again;
    for (again = 0; again < 20; again++) {
        load(&plugin);
        CHECK(UNLOAD(plugin.library));
    }
    process_goes_on();
}

static THREAD load_and_unload(void *stops)
{
    struct plugin own;
    load(&own);
    if (stops) own.stop();
    CHECK(UNLOAD(own.library));
    return THREAD_END;
}

/* Another plug-in that contains the library is loaded first, and the two see each other's symbols. Each must call its own copy of
   the library: its callbacks would be gone otherwise. */
static void unload_beside_another(void)
{
    char other[1000];
    struct plugin first;
    CHECK(snprintf(other, sizeof other, "%s.other", path) < (int)sizeof other);
    start(&first, LOAD_FOR_ALL(other));
    start(&plugin, LOAD_FOR_ALL(path));
    CHECK(UNLOAD(plugin.library));
    process_goes_on();
    first.stop();
}

/* The thread that used the plug-in ends, and with it what the library keeps for a thread. */
static void unload_in_a_thread_that_ends(void)
{
    unsigned again;
    for (again = 0; again < 20; again++) {
        thread_t thread;
        begin(&thread, load_and_unload, again % 2 ? &plugin : NULL);
        join(thread);
    }
    process_goes_on();
}

static void exit_while_endpoints_run(void) { load(&plugin); }

static THREAD run(void *with)
{
    /* A pointer to a function's pointer. */
    (**(void (**)(void))with)();
    return THREAD_END;
}

static void exit_while_a_thread_runs(void (**function)(void))
{
    thread_t thread;
    load(&plugin);
    begin(&thread, run, (void *)function);
    /* The thread may be anywhere when the process ends, so no wait belongs here; some time makes it likely that it is inside. */
    pause_ms(50);
}

static void exit_inside_receive(void) { exit_while_a_thread_runs(&plugin.receive); }
static void exit_while_a_thread_sends(void) { exit_while_a_thread_runs(&plugin.send); }

/* On Windows the system ends the threads inside the callbacks first, wherever they are. On Linux they run on, and the plug-in's
   destructors wait until the callbacks return. */
static void exit_inside_callbacks(void)
{
#ifdef _WIN32
    char name[64];
    sprintf(name, "xshm.plugin.%u.callback", own_pid());
    load(&plugin);
    CHECK(plugin.wait_in_callbacks(name));
#endif
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } cases[] = {
        {"unload", unload_without_stopping},
        {"stop", stop_and_unload},
        {"again", load_again_and_again},
        {"beside_another", unload_beside_another},
        {"again_running", load_again_without_stopping},
        {"threads", unload_in_a_thread_that_ends},
        {"exit", exit_while_endpoints_run},
        {"exit_receiving", exit_inside_receive},
        {"exit_sending", exit_while_a_thread_sends},
        {"exit_callbacks", exit_inside_callbacks},
    };
    unsigned at;
    if (argc == 3) {
        path = argv[1];
        for (at = 0; at < sizeof cases / sizeof *cases; at++) {
            if (strcmp(argv[2], cases[at].name) == 0) {
                cases[at].run();
                printf("%s\n", argv[2]);
                return 0;
            }
        }
    }
    fprintf(stderr, "usage: plugin_host PLUGIN CASE\n");
    for (at = 0; at < sizeof cases / sizeof *cases; at++) fprintf(stderr, "  %s\n", cases[at].name);
    return 2;
}
