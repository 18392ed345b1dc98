// xshm for C++17: a header-only layer over xshm.h.
//
//     xshm::server server("name");                                    // throws xshm::error
//     if (auto error = server.wait_for_client(5s)) return fail(error); // a std::error_code
//     server.send("ping");
//     std::string answer;
//     server.receive(answer);
//
// - Handles can be moved but not copied; a destructor stops the endpoint.
// - Constructors throw xshm::error, a std::system_error. Everything else returns a std::error_code, whose category is
//   xshm::category() and whose values are those of shm_error_t: `error == SHM_ERROR_TIMEOUT`.
// - The caller passes messages as xshm::view; strings, vectors and arrays of bytes convert to it implicitly. Messages are
//   received into a std::string or a std::vector of bytes, which grows as needed.
// - Times are std::chrono durations; xshm::forever waits for ever.
// - Callbacks are std::functions. xshm.h states on which threads they run. An exception never leaves a callback: xshm.hpp
//   catches it, and calls on_error with SHM_ERROR_INTERNAL. Inside that call, last_error_message() returns the exception's
//   text. The endpoint continues. An exception from on_error itself, and any exception if there is no on_error, is dropped.
//   A callback must not end in another way (longjmp, pthread_exit, cancellation of the thread).
// - An object must not be destroyed, moved or stopped inside its own callbacks.
// - xshm.hpp also compiles without exceptions (-fno-exceptions). A constructor that fails then leaves an object without a
//   handle: `if (!server)`. last_error_message() says why, and all functions of the object fail.
// - Static objects: the rules of xshm.h for plug-ins, for forks and for the end of the process hold for destructors too.
// - Threads: the rules of xshm.h hold. Several threads may use an object; it must not be moved meanwhile.
#ifndef XSHM_HPP
#define XSHM_HPP

#include "xshm.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

/// Whether the compiler has exceptions; the second name is MSVC's.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define XSHM_HPP_HAS_EXCEPTIONS 1
#else
#define XSHM_HPP_HAS_EXCEPTIONS 0
#endif

static_assert(XSHM_VERSION >= 0x000300, "xshm.hpp belongs to a newer xshm.h");

template <>
struct std::is_error_code_enum<shm_error_t> : std::true_type {};

namespace xshm {

/// The category of shm_error_t.
inline const std::error_category &category() noexcept
{
    struct category_t final : std::error_category {
        const char *name() const noexcept override { return "xshm"; }
        std::string message(int code) const override { return shm_error_string(code); }
        std::error_condition default_error_condition(int code) const noexcept override
        {
            switch (code) {
            case SHM_ERROR_TIMEOUT: return std::errc::timed_out;
            case SHM_ERROR_INVALID_PARAM: return std::errc::invalid_argument;
            case SHM_ERROR_MEMORY: return std::errc::not_enough_memory;
            case SHM_ERROR_EMPTY: return std::errc::resource_unavailable_try_again;
            case SHM_ERROR_NOT_CONNECTED: return std::errc::not_connected;
            case SHM_ERROR_INTERRUPTED: return std::errc::interrupted;
            case SHM_ERROR_MESSAGE_TOO_LARGE: return std::errc::message_size;
            default: return {code, *this};
            }
        }
    };
    static const category_t one;
    return one;
}

} // namespace xshm

/// Makes `std::error_code error = SHM_ERROR_TIMEOUT;` work. It is outside the namespace, where shm_error_t is, so that the
/// compiler finds it.
inline std::error_code make_error_code(shm_error_t code) noexcept { return {static_cast<int>(code), xshm::category()}; }

namespace xshm {

/// The exception that constructors throw, unless the program is compiled without exceptions. `what()` describes the error in detail.
class error : public std::system_error {
public:
    explicit error(const std::string &what) : std::system_error(make_error_code(shm_last_error()), what) {}
};

namespace detail {

inline std::string c_last_error_message()
{
    std::string text(shm_last_error_message(nullptr, 0) + 1, '\0');
    shm_last_error_message(text.data(), static_cast<std::uint32_t>(text.size()));
    text.pop_back();
    return text;
}

/// The text of the exception for which this thread is inside on_error. nullptr: there is none.
inline const char *&callback_exception() noexcept
{
    static thread_local const char *text = nullptr;
    return text;
}

} // namespace detail

/// The text of this thread's last error: why its last failed call failed. Inside an on_error that was called because
/// another callback threw: the text of that exception.
inline std::string last_error_message()
{
    const char *text = detail::callback_exception();
    return text ? std::string(text) : detail::c_last_error_message();
}

/// A duration without a limit.
inline constexpr std::chrono::milliseconds forever = std::chrono::milliseconds::max();

namespace detail {

template <class T>
inline constexpr bool is_byte =
    std::is_same_v<T, char> || std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>;

/// Converts a time to milliseconds. Rounds up, so that a wait is never shorter than requested. A duration that is too long
/// means for ever.
template <class Rep, class Period>
std::uint32_t milliseconds(std::chrono::duration<Rep, Period> time)
{
    using wide = std::chrono::duration<long double, std::milli>;
    const wide exact = time;
    if (exact.count() <= 0) return 0;
    if (exact.count() >= 4294967295.0L) return SHM_FOREVER;
    auto whole = static_cast<std::uint32_t>(exact.count());
    return static_cast<long double>(whole) < exact.count() ? whole + 1 : whole;
}

template <class Handle>
Handle *checked(Handle *handle, const char *doing, std::string_view name)
{
    if (handle) return handle;
#if XSHM_HPP_HAS_EXCEPTIONS
    std::string what = doing;
    if (!name.empty()) what.append(" \"").append(name).append("\"");
    throw error(what.append(": ").append(c_last_error_message()));
#else
    (void)doing;
    (void)name;
    return nullptr;
#endif
}

} // namespace detail

/// A message in bytes that other code owns. Like a std::string_view, a view must not outlive the bytes.
class view {
public:
    constexpr view() noexcept = default;
    constexpr view(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// A text, without the NUL at its end.
    view(const char *text) noexcept : view(std::string_view(text)) {}
    /// A string, a vector or an array of bytes: any object that has data() and size().
    template <class C, class = std::enable_if_t<detail::is_byte<
                           std::remove_cv_t<std::remove_pointer_t<decltype(std::declval<const C &>().data())>>>>>
    constexpr view(const C &bytes) noexcept : view(bytes.data(), bytes.size())
    {
    }

    constexpr const void *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    const std::byte *begin() const noexcept { return static_cast<const std::byte *>(data_); }
    const std::byte *end() const noexcept { return begin() + size_; }
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }

    /// Returns the size for the C functions. A size of more than 32 bits becomes one that the C functions refuse as too
    /// long.
    std::uint32_t size32() const noexcept { return size_ > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(size_); }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

enum class direction { server_to_client = SHM_DIR_SERVER_TO_CLIENT, client_to_server = SHM_DIR_CLIENT_TO_SERVER };

enum class access {
    owner = SHM_ACCESS_OWNER,
    everyone = SHM_ACCESS_EVERYONE,
    users = SHM_ACCESS_USERS,
    administrators = SHM_ACCESS_ADMINISTRATORS
};

enum class trust { owner = SHM_TRUST_OWNER, users = SHM_TRUST_USERS, anyone = SHM_TRUST_ANYONE };

/// The options of an endpoint; the fields are those of shm_options_t.
struct options {
    /// Bytes in each ring. 0: a server uses 2 MiB, a client uses the server's size.
    std::uint32_t ring_bytes = 0;
    std::uint32_t message_limit = 0;
    /// Negative: the library chooses the time.
    std::chrono::microseconds spin{-1};
    std::chrono::milliseconds receive_timeout = forever;
    std::chrono::milliseconds check_interval{0};
    bool reject_when_full = false;
    bool anonymous_events = false;
    xshm::access access = xshm::access::owner;
    xshm::trust trust = xshm::trust::owner;
    std::vector<std::string> users;
    /// A self-relative security descriptor, used instead of `access`. Windows only.
    std::vector<unsigned char> security_descriptor;
    std::uint32_t clients_per_worker = 0;
};

namespace detail {

/// Options in their C form, together with the data that they point to.
class c_options {
public:
    explicit c_options(const options &from) : c(shm_options_default())
    {
        c.message_limit = from.message_limit;
        if (from.spin.count() >= 0) {
            // The largest number means the default.
            c.spin_us = from.spin.count() >= SHM_SPIN_DEFAULT ? SHM_SPIN_DEFAULT - 1
                                                              : static_cast<std::uint32_t>(from.spin.count());
        }
        c.receive_timeout_ms = milliseconds(from.receive_timeout);
        c.check_interval_ms = milliseconds(from.check_interval);
        c.reject_when_full = from.reject_when_full;
        c.anonymous_events = from.anonymous_events;
        c.access = static_cast<std::uint32_t>(from.access);
        c.trust = static_cast<std::uint32_t>(from.trust);
        for (const auto &user : from.users) users_.push_back(user.c_str());
        c.users = users_.data();
        c.user_count = static_cast<std::uint32_t>(users_.size());
        if (!from.security_descriptor.empty()) {
            c.access = SHM_ACCESS_SECURITY_DESCRIPTOR;
            c.security_descriptor = from.security_descriptor.data();
            c.security_descriptor_size = static_cast<std::uint32_t>(from.security_descriptor.size());
        }
        c.clients_per_worker = from.clients_per_worker;
    }

    c_options(const c_options &) = delete;
    c_options &operator=(const c_options &) = delete;

    shm_options_t c;

private:
    std::vector<const char *> users_;
};

#if XSHM_HPP_HAS_EXCEPTIONS

/// Calls on_error for an exception with this text. An exception from on_error is dropped.
template <class Failed>
void report_exception(const char *text, const Failed &failed) noexcept
{
    // on_error may call a function of the library whose callbacks throw, too.
    const char *const outer = callback_exception();
    callback_exception() = text;
    try {
        failed();
    } catch (...) {
    }
    callback_exception() = outer;
}

/// Runs a callback; if the callback throws, calls `failed`.
template <class Call, class Failed>
void shielded(const Call &call, const Failed &failed) noexcept
{
    try {
        call();
    } catch (const std::exception &thrown) {
        report_exception(thrown.what(), failed);
    } catch (...) {
        report_exception("a callback threw an exception that is no std::exception", failed);
    }
}

#else

template <class Call, class Failed>
void shielded(const Call &call, const Failed &) noexcept
{
    call();
}

#endif

} // namespace detail

/// The callbacks of a server for one client or of its client; see shm_callbacks_t. Omit the callbacks that you don't need.
struct callbacks {
    std::function<void()> on_connect;
    std::function<void()> on_disconnect;
    std::function<void()> on_data_available;
    std::function<void()> on_space_available;
    std::function<void(std::error_code)> on_error;
    std::function<void(direction, view)> on_message;
    std::function<void(direction, std::uint32_t)> on_overflow;

    /// Returns the callbacks in their C form. They are valid while this object exists and is not moved.
    shm_callbacks_t c()
    {
        auto c = xshm_server_callbacks_default();
        c.user_data = this;
        // clang-format off
        if (on_connect) c.on_connect = [](void *all) { self(all).call([&] { self(all).on_connect(); }); };
        if (on_disconnect) c.on_disconnect = [](void *all) { self(all).call([&] { self(all).on_disconnect(); }); };
        if (on_data_available) c.on_data_available = [](void *all) { self(all).call([&] { self(all).on_data_available(); }); };
        if (on_space_available) c.on_space_available = [](void *all) { self(all).call([&] { self(all).on_space_available(); }); };
        // clang-format on
        if (on_error) {
            c.on_error = [](shm_error_t code, void *all) {
                detail::shielded([&] { self(all).on_error(make_error_code(code)); }, [] {});
            };
        }
        if (on_message) {
            c.on_message = [](shm_direction_t way, const void *data, std::uint32_t size, void *all) {
                self(all).call([&] { self(all).on_message(static_cast<direction>(way), view(data, size)); });
            };
        }
        if (on_overflow) {
            c.on_overflow = [](shm_direction_t way, std::uint32_t count, void *all) {
                self(all).call([&] { self(all).on_overflow(static_cast<direction>(way), count); });
            };
        }
        return c;
    }

private:
    static callbacks &self(void *all) { return *static_cast<callbacks *>(all); }

    template <class Call>
    void call(const Call &call) noexcept
    {
        detail::shielded(call, [&] {
            if (on_error) on_error(make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// The process and the user of the peer.
struct peer_identity {
    std::uint32_t process_id = 0;
    /// A SID as text, on Linux a number; empty if the system doesn't report it.
    std::string user;
};

/// Messages that are received together, in a buffer that can be reused.
class batch {
public:
    /// Reserves room for up to `messages` messages of `bytes` bytes together. The room is at least 65,535 bytes, so that
    /// every message fits.
    explicit batch(std::size_t messages = 250, std::size_t bytes = 256 * 1024)
        : bytes_(bytes < 65535 ? 65535 : bytes), messages_(messages < 1 ? 1 : messages)
    {
    }

    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }
    view operator[](std::size_t at) const noexcept { return {messages_[at].data, messages_[at].size}; }

    /// Iterates over the messages, oldest first. They are valid until the batch is filled anew, moved or destroyed.
    class iterator {
    public:
        explicit iterator(const shm_message_t *at) noexcept : at_(at) {}
        view operator*() const noexcept { return {at_->data, at_->size}; }
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        const shm_message_t *at_;
    };
    iterator begin() const noexcept { return iterator(messages_.data()); }
    iterator end() const noexcept { return iterator(messages_.data() + count_); }

    /// Lets a C function fill the batch.
    template <class Fill>
    std::error_code fill(const Fill &fill)
    {
        count_ = static_cast<std::uint32_t>(messages_.size());
        return fill(bytes_.data(), static_cast<std::uint32_t>(bytes_.size()), messages_.data(), &count_);
    }

private:
    std::vector<std::byte> bytes_;
    std::vector<shm_message_t> messages_;
    std::uint32_t count_ = 0;
};

namespace detail {

/// The functions of one kind of endpoint.
struct server_functions {
    using handle = ServerHandle;
    static constexpr auto stop = shm_server_stop;
    static constexpr auto send = shm_server_send;
    static constexpr auto try_send = shm_server_try_send;
    static constexpr auto send_timeout = shm_server_send_timeout;
    static constexpr auto receive = shm_server_receive;
    static constexpr auto try_receive = shm_server_try_receive;
    static constexpr auto receive_timeout = shm_server_receive_timeout;
    static constexpr auto send_batch = shm_server_send_batch;
    static constexpr auto try_send_batch = shm_server_try_send_batch;
    static constexpr auto receive_batch = shm_server_receive_batch;
    static constexpr auto reserve = shm_server_reserve;
    static constexpr auto commit = shm_server_commit;
    static constexpr auto borrow = shm_server_borrow;
    static constexpr auto release = shm_server_release;
    static constexpr auto poll = shm_server_poll;
    static constexpr auto is_connected = shm_server_is_connected;
    static constexpr auto peer = shm_server_peer;
    static constexpr auto stats = shm_server_stats;
    static constexpr auto interrupt = shm_server_interrupt;
    static constexpr auto resume = shm_server_resume;
};

struct client_functions {
    using handle = ClientHandle;
    static constexpr auto stop = shm_client_disconnect;
    static constexpr auto send = shm_client_send;
    static constexpr auto try_send = shm_client_try_send;
    static constexpr auto send_timeout = shm_client_send_timeout;
    static constexpr auto receive = shm_client_receive;
    static constexpr auto try_receive = shm_client_try_receive;
    static constexpr auto receive_timeout = shm_client_receive_timeout;
    static constexpr auto send_batch = shm_client_send_batch;
    static constexpr auto try_send_batch = shm_client_try_send_batch;
    static constexpr auto receive_batch = shm_client_receive_batch;
    static constexpr auto reserve = shm_client_reserve;
    static constexpr auto commit = shm_client_commit;
    static constexpr auto borrow = shm_client_borrow;
    static constexpr auto release = shm_client_release;
    static constexpr auto poll = shm_client_poll;
    static constexpr auto is_connected = shm_client_is_connected;
    static constexpr auto peer = shm_client_peer;
    static constexpr auto stats = shm_client_stats;
    static constexpr auto interrupt = shm_client_interrupt;
    static constexpr auto resume = shm_client_resume;
};

/// A handle and its callbacks; the handle is destroyed first.
template <class Handle, void (*Stop)(Handle *), class Callbacks>
class owner {
public:
    owner(owner &&other) noexcept
        : handle_(other.handle_.exchange(nullptr)), callbacks_(std::move(other.callbacks_))
    {
    }

    owner &operator=(owner &&other) noexcept
    {
        if (this != &other) {
            stop();
            handle_ = other.handle_.exchange(nullptr);
            callbacks_ = std::move(other.callbacks_);
        }
        return *this;
    }

    ~owner() { stop(); }

    /// Stops and frees the handle, as the destructor does. The object is unusable afterwards.
    void stop() noexcept { Stop(handle_.exchange(nullptr)); }

    /// Returns the handle for the C functions. This object still owns it.
    Handle *get() const noexcept { return handle_; }

    explicit operator bool() const noexcept { return handle_ != nullptr; }

protected:
    explicit owner(Callbacks callbacks) : callbacks_(std::make_unique<Callbacks>(std::move(callbacks))) {}

    /// Callbacks may use the object while its constructor runs. The object has no handle then.
    std::atomic<Handle *> handle_{nullptr};
    std::unique_ptr<Callbacks> callbacks_;
};

/// The same as owner, for handles that have their own threads.
template <class Handle, void (*Stop)(Handle *), shm_error_t (*Request)(Handle *),
          shm_error_t (*Within)(Handle *, std::uint32_t), class Callbacks>
class background : public owner<Handle, Stop, Callbacks> {
public:
    /// Begins to stop, and returns without waiting. Use it in callbacks: another thread destroys the object later.
    [[nodiscard]] std::error_code request_stop() { return Request(this->handle_); }

    /// Stops and frees the handle, as stop() does, but waits at most for the given time. SHM_ERROR_TIMEOUT: the endpoint
    /// has not ended yet, and the object is still usable.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code stop(std::chrono::duration<Rep, Period> timeout)
    {
        const std::error_code code = Within(this->handle_, milliseconds(timeout));
        if (!code) this->handle_ = nullptr;
        return code;
    }

    using owner<Handle, Stop, Callbacks>::stop;

protected:
    using owner<Handle, Stop, Callbacks>::owner;
};

/// The common functions of a server and a client.
template <class F>
class endpoint : public owner<typename F::handle, F::stop, callbacks> {
    using base = owner<typename F::handle, F::stop, callbacks>;

public:
    /// Never waits: a full queue evicts its oldest messages.
    [[nodiscard]] std::error_code send(view message) { return F::send(this->handle_, message.data(), message.size32()); }

    /// Sends if there is room. SHM_ERROR_FULL: there is no room, and the queue is unchanged.
    [[nodiscard]] std::error_code try_send(view message)
    {
        return F::try_send(this->handle_, message.data(), message.size32());
    }

    /// Waits for room for at most the given time. SHM_ERROR_TIMEOUT: there was no room.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return F::send_timeout(this->handle_, message.data(), message.size32(), milliseconds(timeout));
    }

    /// Waits for a message, for as long as the options allow.
    template <class Buffer>
    [[nodiscard]] std::error_code receive(Buffer &buffer)
    {
        return receive_into(buffer, [&](void *to, std::uint32_t *size) { return F::receive(this->handle_, to, size); });
    }

    /// Waits for a message for at most the given time. SHM_ERROR_TIMEOUT: none came.
    template <class Buffer, class Rep, class Period>
    [[nodiscard]] std::error_code receive(Buffer &buffer, std::chrono::duration<Rep, Period> timeout)
    {
        return receive_into(buffer, [&](void *to, std::uint32_t *size) {
            return F::receive_timeout(this->handle_, to, size, milliseconds(timeout));
        });
    }

    /// Receives without waiting. SHM_ERROR_EMPTY: there is no message.
    template <class Buffer>
    [[nodiscard]] std::error_code try_receive(Buffer &buffer)
    {
        return receive_into(buffer, [&](void *to, std::uint32_t *size) { return F::try_receive(this->handle_, to, size); });
    }

    /// Sends messages in order, each as send() does. A peer that sleeps is woken after the first few. `messages` is a container
    /// of objects that convert to a view. `sent` receives the number of messages sent, counted from the first.
    /// SHM_ERROR_FULL, if the server's options reject: not all messages had room.
    template <class Messages>
    [[nodiscard]] std::error_code send_batch(const Messages &messages, std::size_t *sent = nullptr)
    {
        return send_all(F::send_batch, messages, sent);
    }

    /// Sends messages in order for as long as there is room; evicts nothing. SHM_ERROR_FULL: not all messages had room.
    template <class Messages>
    [[nodiscard]] std::error_code try_send_batch(const Messages &messages, std::size_t *sent = nullptr)
    {
        return send_all(F::try_send_batch, messages, sent);
    }

    /// Waits for a message, and takes it together with all further messages that are there and that the batch has room for.
    /// The batch is empty on failure.
    template <class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
    [[nodiscard]] std::error_code receive_batch(batch &out, std::chrono::duration<Rep, Period> timeout = forever)
    {
        return out.fill([&](void *to, std::uint32_t size, shm_message_t *messages, std::uint32_t *count) {
            return F::receive_batch(this->handle_, to, size, messages, count, milliseconds(timeout));
        });
    }

    /// Reserves room for a message of `size` bytes, calls `write` with its address (a std::byte *), and sends the message.
    /// If `write` throws, the exception propagates and nothing is sent. The peer can write the memory too: don't trust what
    /// you read back from it.
    template <class Write>
    [[nodiscard]] std::error_code send_with(std::size_t size, Write &&write)
    {
        void *place = nullptr;
        const auto size32 = size > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(size);
        if (const shm_error_t code = F::reserve(this->handle_, size32, &place)) return code;
        std::forward<Write>(write)(static_cast<std::byte *>(place));
        return F::commit(this->handle_);
    }

    /// Waits for a message, calls `read` with a view of it in shared memory, and takes it. Use it only with trusted peers,
    /// and if the server's options reject when full. If `read` throws, the exception propagates and the message stays in the
    /// queue.
    template <class Read, class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
    [[nodiscard]] std::error_code receive_with(Read &&read, std::chrono::duration<Rep, Period> timeout = forever)
    {
        const void *data = nullptr;
        std::uint32_t size = 0;
        if (const shm_error_t code = F::borrow(this->handle_, &data, &size, milliseconds(timeout))) return code;
        std::forward<Read>(read)(view(data, size));
        return F::release(this->handle_);
    }

    /// Waits until a message is there, and leaves it in the queue. If there is none: SHM_ERROR_TIMEOUT, or SHM_ERROR_EMPTY if
    /// the time is 0.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code poll(std::chrono::duration<Rep, Period> timeout)
    {
        return F::poll(this->handle_, milliseconds(timeout));
    }

    bool is_connected() const noexcept { return F::is_connected(this->handle_); }

    [[nodiscard]] std::error_code peer(peer_identity &out) const
    {
        char user[256] = "";
        const std::error_code error = F::peer(this->handle_, &out.process_id, user, sizeof user);
        if (!error) out.user = user;
        return error;
    }

    [[nodiscard]] std::error_code stats(shm_stats_t &out) const { return F::stats(this->handle_, &out); }

    /// Makes waiting calls return SHM_ERROR_INTERRUPTED, now and later, until resume().
    void interrupt() noexcept { F::interrupt(this->handle_); }
    void resume() noexcept { F::resume(this->handle_); }

protected:
    using base::base;

private:
    template <class Send, class Messages>
    std::error_code send_all(Send send, const Messages &messages, std::size_t *sent)
    {
        std::vector<shm_message_t> all;
        for (const view message : messages) all.push_back({message.data(), message.size32()});
        std::uint32_t count = 0;
        const shm_error_t code = send(this->handle_, all.data(), static_cast<std::uint32_t>(all.size()), &count);
        if (sent) *sent = count;
        return code;
    }

    template <class Buffer, class Receive>
    static std::error_code receive_into(Buffer &buffer, const Receive &receive)
    {
        static_assert(is_byte<typename Buffer::value_type>, "messages are received into bytes");
        if (buffer.size() < 256) buffer.resize(buffer.capacity() < 256 ? 256 : buffer.capacity());
        for (;;) {
            auto size = static_cast<std::uint32_t>(buffer.size());
            const shm_error_t code = receive(buffer.data(), &size);
            if (code == SHM_SUCCESS) buffer.resize(size);
            if (code != SHM_ERROR_BUFFER_TOO_SMALL) return code;
            buffer.resize(size);
        }
    }
};

} // namespace detail

/// A server for one client.
class server : public detail::endpoint<detail::server_functions> {
public:
    explicit server(const std::string &name, callbacks calls = {}, const xshm::options &options = {})
        : endpoint(std::move(calls))
    {
        const detail::c_options chosen(options);
        const shm_endpoint_config_t config{name.c_str(), options.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_server_start_with_options(&config, &c, &chosen.c), "starting the server", name);
    }

    /// Starts a server without a name, for clients that get section_handle() in some other way.
    static server anonymous(callbacks calls = {}, const xshm::options &options = {})
    {
        return server(std::move(calls), options);
    }

    template <class Rep, class Period>
    [[nodiscard]] std::error_code wait_for_client(std::chrono::duration<Rep, Period> timeout)
    {
        return shm_server_wait_for_client(handle_, detail::milliseconds(timeout));
    }

    template <class Rep, class Period>
    [[nodiscard]] std::error_code wait_for_client_noevent(std::chrono::duration<Rep, Period> timeout)
    {
        return shm_server_wait_for_client_noevent(handle_, detail::milliseconds(timeout));
    }

    [[nodiscard]] std::error_code disconnect_client() { return shm_server_disconnect_client(handle_); }

    /// Returns false if the server is anonymous and its options did not ask for events.
    bool get_event_handles(shm_event_handles_t &out) { return shm_server_get_event_handles(handle_, &out); }

    /// Returns the client handles: see shm_server_client_handles.
    [[nodiscard]] std::error_code client_handles(shm_client_handles_t &out) const
    {
        return shm_server_client_handles(handle_, &out);
    }

    std::intptr_t section_handle() const noexcept { return shm_server_section_handle(handle_); }

private:
    server(callbacks calls, const xshm::options &options) : endpoint(std::move(calls))
    {
        const detail::c_options chosen(options);
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_server_start_anonymous(options.ring_bytes, &c, &chosen.c), "starting a server", {});
    }
};

/// A client of a server for one client.
class client : public detail::endpoint<detail::client_functions> {
public:
    /// Connects, and waits for the server for at most the given time.
    template <class Rep, class Period>
    client(const std::string &name, std::chrono::duration<Rep, Period> timeout, callbacks calls = {},
           const xshm::options &options = {})
        : endpoint(std::move(calls))
    {
        const detail::c_options chosen(options);
        const shm_endpoint_config_t config{name.c_str(), options.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(
            shm_client_connect_with_options(&config, &c, &chosen.c, detail::milliseconds(timeout)), "connecting to", name);
    }

    /// Connects to an anonymous server by a handle to its section, which the caller still owns.
    template <class Rep, class Period>
    static client attach(std::intptr_t section, std::chrono::duration<Rep, Period> timeout, callbacks calls = {},
                         const xshm::options &options = {})
    {
        const shm_client_handles_t handles{section, -1, -1, -1, -1, -1, -1, -1};
        return attach(handles, timeout, std::move(calls), options);
    }

    /// Connects to a server by the handles from its client_handles, which the caller still owns.
    template <class Rep, class Period>
    static client attach(const shm_client_handles_t &handles, std::chrono::duration<Rep, Period> timeout,
                         callbacks calls = {}, const xshm::options &options = {})
    {
        return client(handles, detail::milliseconds(timeout), std::move(calls), options);
    }

private:
    client(const shm_client_handles_t &handles, std::uint32_t timeout, callbacks calls, const xshm::options &options)
        : endpoint(std::move(calls))
    {
        const detail::c_options chosen(options);
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_client_attach_handles(&handles, &c, &chosen.c, timeout), "attaching to a section", {});
    }
};

/// How an auto endpoint behaves; see shm_auto_options_t.
using auto_options = shm_auto_options_t;

namespace detail {

struct auto_server_functions {
    using handle = AutoServerHandle;
    static constexpr auto start = shm_server_start_auto_with_options;
    static constexpr auto stop = shm_server_stop_auto;
    static constexpr auto request_stop = shm_server_request_stop_auto;
    static constexpr auto stop_timeout = shm_server_stop_timeout_auto;
    static constexpr auto send = shm_server_send_auto;
    static constexpr auto try_send = shm_server_try_send_auto;
    static constexpr auto send_timeout = shm_server_send_timeout_auto;
    static constexpr auto stats = shm_server_stats_auto;
};

struct auto_client_functions {
    using handle = AutoClientHandle;
    static constexpr auto start = shm_client_connect_auto_with_options;
    static constexpr auto stop = shm_client_disconnect_auto;
    static constexpr auto request_stop = shm_client_request_disconnect_auto;
    static constexpr auto stop_timeout = shm_client_disconnect_timeout_auto;
    static constexpr auto send = shm_client_send_auto;
    static constexpr auto try_send = shm_client_try_send_auto;
    static constexpr auto send_timeout = shm_client_send_timeout_auto;
    static constexpr auto stats = shm_client_stats_auto;
};

} // namespace detail

/// An endpoint that works in the background: connects, receives, and connects again, on its own worker thread.
template <class F>
class auto_endpoint
    : public detail::background<typename F::handle, F::stop, F::request_stop, F::stop_timeout, callbacks> {
    using base = detail::background<typename F::handle, F::stop, F::request_stop, F::stop_timeout, callbacks>;

public:
    explicit auto_endpoint(const std::string &name, callbacks calls = {},
                           const auto_options &behaviour = shm_auto_options_default(), const xshm::options &options = {})
        : base(std::move(calls))
    {
        const detail::c_options chosen(options);
        const shm_endpoint_config_t config{name.c_str(), options.ring_bytes};
        const auto c = this->callbacks_->c();
        this->handle_ = detail::checked(F::start(&config, &c, &behaviour, &chosen.c), "starting in the background", name);
    }

    [[nodiscard]] std::error_code send(view message) { return F::send(this->handle_, message.data(), message.size32()); }

    [[nodiscard]] std::error_code try_send(view message)
    {
        return F::try_send(this->handle_, message.data(), message.size32());
    }

    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return F::send_timeout(this->handle_, message.data(), message.size32(), detail::milliseconds(timeout));
    }

    shm_auto_stats_t stats() const noexcept
    {
        shm_auto_stats_t stats{};
        F::stats(this->handle_, &stats);
        return stats;
    }
};

/// A server that accepts one client after the other.
class auto_server : public auto_endpoint<detail::auto_server_functions> {
public:
    using auto_endpoint::auto_endpoint;

    /// Returns the present session's number, which stands for its client and for no later client. 0: there is no session.
    std::uint64_t session() const noexcept { return shm_server_session_auto(handle_); }

    /// Sends only to the client of that session. Use it for an answer that takes longer than a callback.
    [[nodiscard]] std::error_code send_to_session(std::uint64_t session, view message)
    {
        return shm_server_send_to_session_auto(handle_, session, message.data(), message.size32());
    }
};

using auto_client = auto_endpoint<detail::auto_client_functions>;

/// The callbacks of a server for many clients; see shm_multi_callbacks_t.
struct multi_callbacks {
    std::function<void(std::uint32_t)> on_client_connect;
    std::function<void(std::uint32_t)> on_client_disconnect;
    std::function<void(std::uint32_t, view)> on_message;
    /// SHM_NO_CLIENT: the error concerns no client.
    std::function<void(std::uint32_t, std::error_code)> on_error;

    shm_multi_callbacks_t c()
    {
        auto c = shm_multi_callbacks_default();
        c.user_data = this;
        if (on_client_connect) {
            c.on_client_connect = [](std::uint32_t id, void *all) {
                self(all).call(id, [&] { self(all).on_client_connect(id); });
            };
        }
        if (on_client_disconnect) {
            c.on_client_disconnect = [](std::uint32_t id, void *all) {
                self(all).call(id, [&] { self(all).on_client_disconnect(id); });
            };
        }
        if (on_message) {
            c.on_message = [](std::uint32_t id, const void *data, std::uint32_t size, void *all) {
                self(all).call(id, [&] { self(all).on_message(id, view(data, size)); });
            };
        }
        if (on_error) {
            c.on_error = [](std::uint32_t id, shm_error_t code, void *all) {
                detail::shielded([&] { self(all).on_error(id, make_error_code(code)); }, [] {});
            };
        }
        return c;
    }

private:
    static multi_callbacks &self(void *all) { return *static_cast<multi_callbacks *>(all); }

    template <class Call>
    void call(std::uint32_t id, const Call &call) noexcept
    {
        detail::shielded(call, [&] {
            if (on_error) on_error(id, make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// A server for many clients, which works on its own threads.
class multi_server : public detail::background<MultiServerHandle, shm_multi_server_stop, shm_multi_server_request_stop,
                                               shm_multi_server_stop_timeout, multi_callbacks> {
public:
    explicit multi_server(const std::string &name, multi_callbacks calls = {},
                          const shm_multi_options_t &behaviour = shm_multi_options_default(),
                          const xshm::options &options = {})
        : background(std::move(calls))
    {
        const detail::c_options chosen(options);
        const shm_endpoint_config_t config{name.c_str(), options.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_multi_server_start_with_options(&config, &c, &behaviour, &chosen.c),
                                  "starting the server", name);
    }

    [[nodiscard]] std::error_code send_to(std::uint32_t id, view message)
    {
        return shm_multi_server_send_to(handle_, id, message.data(), message.size32());
    }

    [[nodiscard]] std::error_code try_send_to(std::uint32_t id, view message)
    {
        return shm_multi_server_try_send_to(handle_, id, message.data(), message.size32());
    }

    /// Returns the session number of the client that has a slot; it stands for that client and for no later client. 0: the
    /// slot has no client.
    std::uint64_t session(std::uint32_t id) const noexcept { return shm_multi_server_session(handle_, id); }

    /// Sends only to the client of that session. Use it for an answer that takes longer than a callback.
    [[nodiscard]] std::error_code send_to_session(std::uint64_t session, view message)
    {
        return shm_multi_server_send_to_session(handle_, session, message.data(), message.size32());
    }

    [[nodiscard]] std::error_code try_send_to_session(std::uint64_t session, view message)
    {
        return shm_multi_server_try_send_to_session(handle_, session, message.data(), message.size32());
    }

    [[nodiscard]] std::error_code disconnect_session(std::uint64_t session)
    {
        return shm_multi_server_disconnect_session(handle_, session);
    }

    /// Stores the number of clients that got the message in `sent`.
    [[nodiscard]] std::error_code broadcast(view message, std::uint32_t *sent = nullptr)
    {
        return shm_multi_server_broadcast(handle_, message.data(), message.size32(), sent);
    }

    [[nodiscard]] std::error_code disconnect_client(std::uint32_t id)
    {
        return shm_multi_server_disconnect_client(handle_, id);
    }

    std::uint32_t client_count() const noexcept { return shm_multi_server_client_count(handle_); }

    bool is_client_connected(std::uint32_t id) const noexcept { return shm_multi_server_is_client_connected(handle_, id); }

    std::vector<std::uint32_t> clients() const
    {
        std::vector<std::uint32_t> ids(client_count());
        std::uint32_t actual = 0;
        // Clients may connect between the two calls.
        while (shm_multi_server_get_clients(handle_, ids.data(), static_cast<std::uint32_t>(ids.size()), &actual)
               == SHM_ERROR_BUFFER_TOO_SMALL) {
            ids.resize(actual);
        }
        ids.resize(actual);
        return ids;
    }

    /// Returns the name of a slot's channel, or an empty string if there is no such slot.
    std::string channel_name(std::uint32_t slot) const
    {
        std::string name(shm_multi_server_channel_name(handle_, slot, nullptr, 0) + 1, '\0');
        shm_multi_server_channel_name(handle_, slot, name.data(), static_cast<std::uint32_t>(name.size()));
        name.pop_back();
        return name;
    }
};

/// The callbacks of a client of a server for many clients; see shm_multi_client_callbacks_t.
struct multi_client_callbacks {
    std::function<void(std::uint32_t)> on_connect;
    std::function<void()> on_disconnect;
    std::function<void(view)> on_message;
    std::function<void(std::error_code)> on_error;

    shm_multi_client_callbacks_t c()
    {
        auto c = shm_multi_client_callbacks_default();
        c.user_data = this;
        if (on_connect) {
            c.on_connect = [](std::uint32_t slot, void *all) { self(all).call([&] { self(all).on_connect(slot); }); };
        }
        if (on_disconnect) c.on_disconnect = [](void *all) { self(all).call([&] { self(all).on_disconnect(); }); };
        if (on_message) {
            c.on_message = [](const void *data, std::uint32_t size, void *all) {
                self(all).call([&] { self(all).on_message(view(data, size)); });
            };
        }
        if (on_error) {
            c.on_error = [](shm_error_t code, void *all) {
                detail::shielded([&] { self(all).on_error(make_error_code(code)); }, [] {});
            };
        }
        return c;
    }

private:
    static multi_client_callbacks &self(void *all) { return *static_cast<multi_client_callbacks *>(all); }

    template <class Call>
    void call(const Call &call) noexcept
    {
        detail::shielded(call, [&] {
            if (on_error) on_error(make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// A client of a server for many clients, which works on its own worker thread.
class multi_client
    : public detail::background<MultiClientHandle, shm_multi_client_disconnect, shm_multi_client_request_disconnect,
                                shm_multi_client_disconnect_timeout, multi_client_callbacks> {
public:
    explicit multi_client(const std::string &name, multi_client_callbacks calls = {},
                          const shm_multi_client_options_t &behaviour = shm_multi_client_options_default(),
                          const xshm::options &options = {})
        : background(std::move(calls))
    {
        const detail::c_options chosen(options);
        const shm_endpoint_config_t config{name.c_str(), options.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_multi_client_connect_with_options(&config, &c, &behaviour, &chosen.c),
                                  "connecting to", name);
    }

    [[nodiscard]] std::error_code send(view message)
    {
        return shm_multi_client_send(handle_, message.data(), message.size32());
    }

    [[nodiscard]] std::error_code try_send(view message)
    {
        return shm_multi_client_try_send(handle_, message.data(), message.size32());
    }

    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return shm_multi_client_send_timeout(handle_, message.data(), message.size32(), detail::milliseconds(timeout));
    }

    std::uint32_t slot_id() const noexcept { return shm_multi_client_slot_id(handle_); }

    bool is_connected() const noexcept { return shm_multi_client_is_connected(handle_); }
};

} // namespace xshm

#endif // XSHM_HPP
