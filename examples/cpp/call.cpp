// The same as examples/c/call.c, in C++:
//
//   call serve NAME       answers a text with the same text in capitals, until its client leaves
//   call connect NAME     calls the server three times
#include "xshm.hpp"

#include <cctype>
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

class capitals {
public:
    explicit capitals(const std::string &name) : server_(name, callbacks()) {}

    void wait_for_end() { left_.wait(); }

private:
    xshm::multi_callbacks callbacks()
    {
        xshm::multi_callbacks calls;
        // It answers at once. A program may also keep `call`, and answer later, on any thread.
        calls.on_call = [this](std::uint32_t id, xshm::call call, xshm::view question) {
            std::printf("client %u calls with %u bytes\n", static_cast<unsigned>(id), static_cast<unsigned>(question.size32()));
            std::string answer(question.text());
            for (auto &letter : answer) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
            check(answer.empty() ? server_.refuse(call) : server_.answer(call, answer), "answering");
        };
        calls.on_client_disconnect = [this](std::uint32_t) { left_.post(); };
        calls.on_error = [](std::uint32_t, std::error_code) { std::fprintf(stderr, "%s\n", xshm::last_error_message().c_str()); };
        return calls;
    }

    semaphore left_;
    xshm::multi_server server_; // the last member: its destructor ends the callbacks, which use the others
};

void serve(const std::string &name)
{
    capitals server(name);
    server.wait_for_end();
}

void connect(const std::string &name)
{
    xshm::caller caller(name, patience);
    for (const auto *question : {"hello", "", "world"}) { // the server refuses the empty text
        std::string answer;
        const auto error = caller.call(question, answer, patience);
        if (error == SHM_ERROR_NO_ANSWER) {
            answer = "no answer";
        } else {
            check(error, "calling");
        }
        std::printf("\"%s\": %s\n", question, answer.c_str());
    }
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: call serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
