// The same as examples/c/event_loop.c, in C++: epoll on Linux, WaitForMultipleObjects on Windows. Nothing but the loop waits.
//
//   event_loop serve NAME       accepts a client on each of two channels, and counts their messages, until both have left
//   event_loop connect NAME     connects to both channels, NAME.0 and NAME.1, and sends 1,000 messages to each, with waits for room
#include "xshm.hpp"

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#ifdef _WIN32
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <sys/epoll.h>
#include <unistd.h>
#endif

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

namespace {

constexpr auto patience = 20s;
constexpr int channel_count = 2, messages = 1000;

/// Throws what the last failed call reports. Call it on the thread of that call.
void check(std::error_code error, const char *doing)
{
    if (error) throw xshm::error(std::string(doing) + ": " + xshm::last_error_message());
}

/// One channel. It opens when the server has accepted a client, or the client has connected. No function waits.
class channel {
public:
    channel() = default;
    channel(const channel &) = delete;
    channel &operator=(const channel &) = delete;
    virtual ~channel() = default;

    /// Goes on with opening, and stores new `handles`. Returns whether the channel is open.
    virtual bool open() = 0;
    /// One of the objects of an open channel is ready.
    virtual void wake() = 0;
    /// Receives or sends until it has to wait. Returns false when the channel is finished.
    virtual bool transfer() = 0;

    xshm::wait_handles handles{};
    bool is_open = false, is_finished = false;
    int count = 0; // messages received or sent
};

/// A channel of the program that serves.
class receiving final : public channel {
public:
    explicit receiving(const std::string &name) : server_(name) {}

    bool open() override
    {
        bool is_accepted = false;
        check(server_.try_accept(is_accepted), "accepting a client");
        check(is_accepted ? server_.wait_handles(handles) : server_.accept_handles(handles), "getting the objects");
        return is_accepted;
    }
    void wake() override
    {
        (void)server_.is_connected(); // finds out if the client's process has ended
        check(server_.disarm(), "disarming");
    }
    bool transfer() override
    {
        std::string message;
        for (bool is_ready = true; is_ready;) {
            std::error_code error;
            while (!(error = server_.try_receive(message))) count++;
            if (error == SHM_ERROR_NOT_CONNECTED) return false; // the client has left
            if (error != SHM_ERROR_EMPTY) check(error, "receiving");
            check(server_.arm(is_ready), "arming");
        }
        return true;
    }

private:
    xshm::server server_;
};

/// A channel of the program that connects.
class sending final : public channel {
public:
    explicit sending(const std::string &name) : connecting_(name) {}

    bool open() override
    {
        check(connecting_.try_finish(client_), "connecting");
        const bool is_connected = static_cast<bool>(client_);
        check(is_connected ? client_.room_handles(handles) : connecting_.wait_handles(handles), "getting the objects");
        return is_connected;
    }
    void wake() override
    {
        (void)client_.is_connected(); // finds out if the server's process has ended
        check(client_.disarm_room(), "disarming");
    }
    bool transfer() override
    {
        const std::string_view message = "tick";
        for (bool is_ready = true; is_ready;) {
            std::error_code error;
            while (count < messages && !(error = client_.try_send(message))) count++;
            if (count == messages) return false;
            if (error != SHM_ERROR_FULL) check(error, "sending");
            check(client_.arm_room(message.size(), is_ready), "arming");
        }
        return true;
    }

private:
    xshm::pending_connect connecting_;
    xshm::client client_{};
};

/// The objects of a channel that exist.
std::vector<std::intptr_t> objects_of(const channel &of)
{
    std::vector<std::intptr_t> objects{of.handles.data(), of.handles.peer()};
    objects.erase(std::remove(objects.begin(), objects.end(), -1), objects.end());
    return objects;
}

/// The system's part: waits until an object of a channel is ready.
#ifdef _WIN32
class event_loop {
public:
    void add(channel *added)
    {
        for (const auto object : objects_of(*added)) {
            objects_.push_back(reinterpret_cast<HANDLE>(object));
            channels_.push_back(added);
        }
    }
    void remove(const channel *removed)
    {
        for (std::size_t at = channels_.size(); at-- > 0;) {
            if (channels_[at] != removed) continue;
            objects_.erase(objects_.begin() + static_cast<std::ptrdiff_t>(at));
            channels_.erase(channels_.begin() + static_cast<std::ptrdiff_t>(at));
        }
    }
    channel *wait(std::chrono::milliseconds timeout) const
    {
        const auto count = static_cast<DWORD>(objects_.size());
        const DWORD ready =
            WaitForMultipleObjects(count, objects_.data(), FALSE, static_cast<DWORD>(timeout.count())) - WAIT_OBJECT_0;
        return ready < count ? channels_[ready] : nullptr;
    }

private:
    std::vector<HANDLE> objects_{};
    std::vector<channel *> channels_{};
};
#else
class event_loop {
public:
    event_loop() = default;
    event_loop(const event_loop &) = delete;
    event_loop &operator=(const event_loop &) = delete;
    ~event_loop() { close(epoll_); }

    void add(channel *added)
    {
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.ptr = added;
        for (const auto object : objects_of(*added)) {
            if (epoll_ctl(epoll_, EPOLL_CTL_ADD, static_cast<int>(object), &event) != 0) throw std::runtime_error("epoll_ctl failed");
        }
    }
    void remove(const channel *removed)
    {
        for (const auto object : objects_of(*removed)) epoll_ctl(epoll_, EPOLL_CTL_DEL, static_cast<int>(object), nullptr);
    }
    channel *wait(std::chrono::milliseconds timeout) const
    {
        epoll_event event{};
        return epoll_wait(epoll_, &event, 1, static_cast<int>(timeout.count())) == 1 ? static_cast<channel *>(event.data.ptr) : nullptr;
    }

private:
    int epoll_ = epoll_create1(EPOLL_CLOEXEC);
};
#endif

using channels = std::vector<std::unique_ptr<channel>>;

/// Does what a channel can do without waiting.
void go_on(channel &with, event_loop &loop)
{
    if (with.is_open) {
        with.wake();
    } else {
        loop.remove(&with); // its objects are other ones after each step
        with.is_open = with.open();
        loop.add(&with);
    }
    if (!with.is_open || with.transfer()) return;
    loop.remove(&with);
    with.handles = {};
    with.is_finished = true;
}

void run(const channels &all)
{
    event_loop loop;
    for (const auto &each : all) go_on(*each, loop);
    while (std::any_of(all.begin(), all.end(), [](const auto &each) { return !each->is_finished; })) {
        auto until = steady::now() + patience;
        for (const auto &each : all) until = std::min(until, each->handles.next_look());
        channel *ready = loop.wait(std::max(std::chrono::ceil<std::chrono::milliseconds>(until - steady::now()), 0ms));
        bool is_late = false;
        for (const auto &each : all) {
            const bool is_due = each->handles.next_look() <= steady::now();
            is_late = is_late || is_due;
            if (is_due || each.get() == ready) go_on(*each, loop);
        }
        if (!ready && !is_late) throw std::runtime_error("nothing has happened for a long time");
    }
}

template <class Channel>
channels open_all(const std::string &name)
{
    channels all;
    for (int index = 0; index < channel_count; index++) all.push_back(std::make_unique<Channel>(name + "." + std::to_string(index)));
    return all;
}

void serve(const std::string &name)
{
    const channels all = open_all<receiving>(name);
    run(all);
    for (std::size_t index = 0; index < all.size(); index++) {
        std::printf("channel %d: %d messages\n", static_cast<int>(index), all[index]->count);
    }
}

void connect(const std::string &name)
{
    run(open_all<sending>(name));
    std::printf("%d messages were sent to each channel\n", messages);
}

} // namespace

int main(int argc, char **argv)
try {
    const std::string role = argc == 3 ? argv[1] : "";
    if (role != "serve" && role != "connect") {
        std::fprintf(stderr, "usage: event_loop serve|connect NAME\n");
        return 2;
    }
    role == "serve" ? serve(argv[2]) : connect(argv[2]);
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
