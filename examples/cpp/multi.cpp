// The same as examples/c/multi.c, in C++:
//
//   multi serve NAME       waits for 3 clients, and sends them a broadcast, and 1,000 numbers to each; ends when they have left
//   multi connect NAME     connects 3 clients, which check that they receive every number
#include "xshm.hpp"

#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <exception>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;
constexpr int client_count = 3;
constexpr std::uint32_t numbers = 1000; // more than a queue holds: the server has to wait for room

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

void serve(const std::string &name)
{
    semaphore joined, left;
    xshm::multi_callbacks calls;
    calls.on_message = [&](std::uint32_t id, xshm::view message) {
        std::printf("client %u says: %s\n", static_cast<unsigned>(id), std::string(message.text()).c_str());
        joined.post();
    };
    calls.on_client_disconnect = [&](std::uint32_t) { left.post(); };
    xshm::multi_server server(name, calls);
    for (int each = 0; each < client_count; each++) joined.wait();

    // A broadcast never waits: it evicts the oldest messages of a full queue, and `evicted` is their number.
    std::vector<shm_broadcast_result_t> results;
    check(server.broadcast_each("welcome", results), "broadcasting");
    for (const auto &each : results) {
        std::printf("broadcast to client %u: %s\n", static_cast<unsigned>(each.client_id), shm_error_string(each.result));
    }
    for (std::uint32_t number = 0; number < numbers; number++) {
        for (const auto id : server.clients()) check(server.send_to(id, xshm::bytes_of(number), patience), "sending");
    }
    for (int each = 0; each < client_count; each++) left.wait();
}

class reader {
public:
    explicit reader(const std::string &name) : client_(name, callbacks(), options()) { check(client_.send("hello"), "sending"); }

    void wait_for_numbers()
    {
        finished_.wait();
        std::printf("client %u received %u numbers\n", static_cast<unsigned>(client_.slot_id()), static_cast<unsigned>(next_));
        if (failed_ || !welcomed_) throw std::runtime_error("a message is missing");
    }

private:
    xshm::multi_client_callbacks callbacks()
    {
        xshm::multi_client_callbacks calls;
        calls.on_message = [this](xshm::view message) {
            std::uint32_t number;
            if (message.size() != sizeof number) {
                welcomed_ = message.text() == "welcome";
                return;
            }
            std::memcpy(&number, message.data(), sizeof number);
            if (number != next_++) failed_ = true;
            if (next_ == numbers) finished_.post();
        };
        return calls;
    }

    static shm_multi_client_options_t options()
    {
        auto options = shm_multi_client_options_default();
        options.lobby_timeout_ms = 20000; // how long the constructor waits for the server
        return options;
    }

    std::uint32_t next_ = 0;
    bool welcomed_ = false, failed_ = false;
    semaphore finished_;
    xshm::multi_client client_; // the last member: its destructor ends the callbacks, which use the others
};

void connect(const std::string &name)
{
    std::list<reader> readers; // its elements are never moved
    for (int each = 0; each < client_count; each++) readers.emplace_back(name);
    for (auto &each : readers) each.wait_for_numbers();
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: multi serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
