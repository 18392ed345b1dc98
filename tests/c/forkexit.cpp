// Objects with static storage duration, which exit destroys: in the child of a fork while threads of the parent are inside
// calls and callbacks, and in a callback. And objects of a thread, which the thread's end destroys. Exits with 0, or prints what
// failed.
#include "xshm.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

static std::optional<xshm::server> server;
static std::optional<xshm::client> client;
static std::optional<xshm::auto_server> auto_server;
static std::optional<xshm::auto_client> auto_client;
static std::optional<xshm::multi_server> multi_server;
static std::optional<xshm::multi_client> multi_client;
static std::atomic<bool> in_callback{false}, leave_callback{false};
static std::atomic<int> connected{0}, destroyed{0};

static const char *doing = "";

static void check(bool condition, const char *what)
{
    if (condition) return;
    std::fprintf(stderr, "%s: not so: %s; last error: %s\n", doing, what, xshm::last_error_message().c_str());
    _exit(1);
}

static std::string name_for(const char *what) { return "xshm.forkexit." + std::to_string(getpid()) + "." + what; }

template <class Condition>
static void wait_until(const Condition &condition, const char *what)
{
    for (int waited = 0; !condition(); waited++) {
        check(waited < 20000, what);
        std::this_thread::sleep_for(1ms);
    }
}

static void ends(pid_t child)
{
    int status = 0;
    check(child > 0 && waitpid(child, &status, 0) == child, "the child is waited for");
    if (WIFSIGNALED(status)) std::fprintf(stderr, "signal %d ended the child\n", WTERMSIG(status));
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child exits with 0");
}

/// Runs `body` in another process.
template <class Body>
static void in_a_process(const char *what, const Body &body)
{
    doing = what;
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        alarm(60);
        body();
        std::exit(0);
    }
    ends(child);
}

/// Whether a thread of this process sleeps in the kernel.
static bool sleeps(int thread)
{
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string text;
    std::getline(file, text);
    const auto end = text.rfind(") ");
    return thread != 0 && end != std::string::npos && text[end + 2] == 'S';
}

static int own_id() { return static_cast<int>(syscall(SYS_gettid)); }

static void start()
{
    xshm::multi_callbacks waits;
    waits.on_message = [](std::uint32_t, xshm::view) {
        in_callback = true;
        while (!leave_callback) std::this_thread::sleep_for(1ms);
    };
    xshm::callbacks counts;
    counts.on_connect = [] { connected++; };
    server.emplace(name_for("sync"));
    std::thread connecting([] { client.emplace(name_for("sync"), 10s); });
    check(!server->wait_for_client(10s), "a client connects");
    connecting.join();
    auto_server.emplace(name_for("auto"), counts);
    auto_client.emplace(name_for("auto"));
    multi_server.emplace(name_for("multi"), waits);
    multi_client.emplace(name_for("multi"));
    wait_until([] { return connected == 1; }, "the auto client connects");
}

static void forks_while_threads_are_inside()
{
    start();
    std::atomic<int> receiving{0}, polling{0};
    std::thread receiver([&] {
        receiving = own_id();
        std::string text;
        check(!server->receive(text), "the parent receives after the fork");
    });
    std::thread poller([&] {
        polling = own_id();
        check(!client->poll(xshm::forever), "the parent polls after the fork");
    });
    check(!multi_client->send("xx"), "a message is sent");
    wait_until([&] { return in_callback.load(); }, "the callback is called");
    wait_until([&] { return sleeps(receiving); }, "the thread sleeps in receive");
    wait_until([&] { return sleeps(polling); }, "the thread sleeps in poll");
    for (int again = 0; again < 20; again++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(20);
            std::exit(0);
        }
        ends(child);
    }
    leave_callback = true;
    check(!client->send("xx") && !server->send("xx"), "the session is as it was");
    receiver.join();
    poller.join();
}

/// A worker ends the process. The destructors run in its callback, and do not wait for it.
static void exits_inside_a_callback()
{
    xshm::callbacks exits;
    exits.on_message = [](xshm::direction, xshm::view) { std::exit(0); };
    auto_server.emplace(name_for("exit"), exits);
    auto_client.emplace(name_for("exit"));
    check(!auto_client->send("xx"), "a message is queued");
    for (;;) pause();
}

struct own_objects {
    std::optional<xshm::server> sync;
    std::optional<xshm::auto_server> background;
    ~own_objects()
    {
        sync.reset();
        background.reset();
        destroyed++;
    }
};

/// What the library keeps for a thread is destroyed before the thread's own objects are, which are older.
static void use_objects_of_this_thread()
{
    static thread_local own_objects objects;
    objects.sync.emplace(name_for("thread"));
    objects.background.emplace(name_for("thread.auto"));
    check(objects.sync->wait_for_client(1ms) == SHM_ERROR_TIMEOUT, "no client connects");
    xshm::server other(name_for("thread.other"));
}

static void destroys_objects_of_threads()
{
    server.emplace(name_for("static"));
    std::thread(use_objects_of_this_thread).join();
    check(destroyed == 1, "the thread's objects are destroyed");
    use_objects_of_this_thread();
}

int main()
{
    in_a_process("a fork exits", forks_while_threads_are_inside);
    in_a_process("a callback exits", exits_inside_a_callback);
    in_a_process("objects of threads", destroys_objects_of_threads);
    std::puts("each process ended");
    return 0;
}
