// The same as examples/c/auto.c, in C++:
//
//   auto serve NAME       answers each message, until its client leaves
//   auto connect NAME     sends three messages, and waits for the answers
#include "xshm.hpp"

#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;

/// Throws what the last failed call reports. Call it on the thread of that call.
void check(std::error_code error, const char *doing)
{
    if (error) throw xshm::error(std::string(doing) + ": " + xshm::last_error_message());
}

/// Callbacks post it, and main waits for it. (In C++20: std::counting_semaphore.)
class semaphore {
public:
    void post()
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        count_++;
        changed_.notify_one();
    }

    void wait()
    {
        std::unique_lock<std::mutex> lock(mutex_);
        if (!changed_.wait_for(lock, patience, [this] { return count_ > 0; })) throw std::runtime_error("the peer takes too long");
        count_--;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int count_ = 0;
};

/// Prints errors. Also an exception that a callback throws arrives here.
void print_error(std::error_code) { std::fprintf(stderr, "%s\n", xshm::last_error_message().c_str()); }

class echo_server {
public:
    explicit echo_server(const std::string &name) : server_(name, callbacks()) {}

    void wait_for_end() { finished_.wait(); }

private:
    xshm::callbacks callbacks()
    {
        xshm::callbacks calls;
        calls.on_message = [this](xshm::direction, xshm::view message) {
            std::printf("the client says: %s\n", std::string(message.text()).c_str());
            check(server_.send(message), "answering");
        };
        calls.on_disconnect = [this] { finished_.post(); };
        calls.on_error = print_error;
        return calls;
    }

    semaphore finished_;
    xshm::auto_server server_; // the last member: its destructor ends the callbacks, which use the others
};

void serve(const std::string &name)
{
    echo_server server(name);
    server.wait_for_end();
}

void connect(const std::string &name)
{
    semaphore answered;
    xshm::callbacks calls;
    calls.on_message = [&](xshm::direction, xshm::view message) {
        std::printf("the server answers: %s\n", std::string(message.text()).c_str());
        answered.post();
    };
    calls.on_error = print_error;
    xshm::auto_client client(name, calls); // returns at once
    for (const auto *word : {"one", "two", "three"}) check(client.send(word), "sending"); // without a connection, they wait in a queue
    for (int answers = 0; answers < 3; answers++) answered.wait();
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: auto serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
