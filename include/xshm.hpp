/// \page cpp_rules Rules of xshm.hpp
///
/// xshm for C++17: a header-only layer over xshm.h.
///
///     xshm::server server("name");                                    // throws xshm::error
///     if (auto error = server.wait_for_client(5s)) return fail(error); // a std::error_code
///     if (auto error = server.send("ping")) return fail(error);
///     std::string answer;
///     if (auto error = server.receive(answer)) return fail(error);
///
/// - Handles can be moved but not copied; a destructor stops the endpoint.
/// - Constructors throw xshm::error, a std::system_error, or report to a std::error_code that they are passed. Everything else
///   returns a std::error_code, whose category is xshm::category() and whose values are those of shm_error_t:
///   `error == SHM_ERROR_TIMEOUT`.
/// - The caller passes messages as xshm::view. Strings convert to it, and containers, std::span and arrays of trivially copyable
///   elements; xshm::bytes_of(object) makes one of a trivially copyable object. A string literal is sent without the NUL at its end, any
///   other array of char with all its bytes. Messages are received into a std::string or a std::vector of bytes, which grows as needed, or by
///   receive_into and receive_object into memory of a fixed size. A call that fails leaves the destination as it was.
/// - Times are std::chrono durations; xshm::forever waits for ever.
/// - Callbacks are std::functions. xshm.h states on which threads they run. They may use the object that they belong to, also while its
///   constructor runs. An exception never leaves a callback: xshm.hpp
///   catches it, and calls on_error with SHM_ERROR_INTERNAL. Inside that call, last_error_message() returns the exception's
///   text. The endpoint continues. An exception from on_error itself, and any exception if there is no on_error, is dropped.
///   A callback must not end in another way (longjmp, pthread_exit, cancellation of the thread).
/// - An object must not be destroyed, moved or stopped inside its own callbacks.
/// - xshm.hpp also compiles without exceptions (-fno-exceptions). A constructor that fails then leaves an object without a
///   handle: `if (!server)`, or `xshm::server server("name", error); if (error)`. last_error_message() says why, and all functions of
///   the object fail.
/// - Static objects: the rules of xshm.h for plug-ins, for forks and for the end of the process hold for destructors too.
/// - Threads: the rules of xshm.h hold. Several threads may use an object; it must not be moved meanwhile.
#ifndef XSHM_HPP
#define XSHM_HPP

#if defined(_MSVC_LANG) ? _MSVC_LANG < 201703L : __cplusplus < 201703L
#error "xshm.hpp needs C++17 or later: compile with -std=c++17, or with /std:c++17 (MSVC). C++11 and C++14 programs use xshm.h."
#else

// What other headers may leave in force and would change this one: the macros of <windows.h> without NOMINMAX, and of Qt without
// QT_NO_KEYWORDS; a packing of structures. The end of this file restores them.
#pragma push_macro("min")
#undef min
#pragma push_macro("max")
#undef max
#pragma push_macro("signals")
#undef signals
#pragma push_macro("slots")
#undef slots
#pragma push_macro("emit")
#undef emit
#pragma push_macro("foreach")
#undef foreach
#pragma push_macro("forever")
#undef forever

#include "xshm.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#pragma pack(push, 8)

/// \cond
/// Whether the compiler has exceptions; the second name is MSVC's.
#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define XSHM_HPP_HAS_EXCEPTIONS 1
#else
#define XSHM_HPP_HAS_EXCEPTIONS 0
#endif
/// \endcond

static_assert(XSHM_VERSION >= 0x000300, "xshm.hpp belongs to a newer xshm.h");

/// \cond
template <>
struct std::is_error_code_enum<shm_error_t> : std::true_type {};
/// \endcond

/// The classes and functions for C++. See \ref cpp.
namespace xshm {

/// Returns the category of shm_error_t.
///
/// \ingroup cpp_general
/// \return The category, which is named "xshm". It maps codes to std::errc where one fits.
/// \par Threads
/// Any thread.
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
///
/// \ingroup cpp_general
/// \param code The code.
/// \return The code, in the category xshm::category().
/// \par Threads
/// Any thread.
inline std::error_code make_error_code(shm_error_t code) noexcept { return {static_cast<int>(code), xshm::category()}; }

namespace xshm {

/// The exception that constructors throw, unless the program is compiled without exceptions. `what()` describes the error in
/// detail.
///
/// \ingroup cpp_general
/// \par Threads
/// Any thread, one at a time.
class error : public std::system_error {
public:
    /// Makes an exception of this thread's last error.
    /// \param what The text for what().
    explicit error(const std::string &what) : std::system_error(make_error_code(shm_last_error())), text_(what) {}

    /// Describes the error in detail.
    /// \return The text, which belongs to this object.
    const char *what() const noexcept override { return text_.what(); }

private:
    /// Its copies do not throw.
    std::runtime_error text_;
};

/// \cond
namespace detail {

inline std::string c_last_error_message()
{
    std::string text(shm_last_error_message(nullptr, 0) + 1u, '\0');
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
/// \endcond

/// Returns the text of this thread's last error: why its last failed call failed. Inside an on_error that was called because
/// another callback threw, it is the text of that exception.
///
/// \ingroup cpp_general
/// \return The text. Empty: no call of this thread has failed.
/// \par Threads
/// Any thread.
inline std::string last_error_message()
{
    const char *text = detail::callback_exception();
    return text ? std::string(text) : detail::c_last_error_message();
}

/// A duration without a limit. Where `forever` is a macro (of Qt), use no_limit.
/// \ingroup cpp_general
inline constexpr std::chrono::milliseconds forever = (std::chrono::milliseconds::max)();
/// The same as forever.
/// \ingroup cpp_general
inline constexpr std::chrono::milliseconds no_limit = forever;

/// \cond
namespace detail {

template <class T>
inline constexpr bool is_byte =
    std::is_same_v<T, char> || std::is_same_v<T, unsigned char> || std::is_same_v<T, std::byte>;

/// What data() of a container points to.
template <class C>
using element_of = std::remove_pointer_t<decltype(std::declval<C &>().data())>;

/// Whether C is a container whose elements lie one after the other and can be sent as their bytes.
template <class C, class = void>
inline constexpr bool is_contiguous = false;
template <class C>
inline constexpr bool is_contiguous<C, std::void_t<element_of<C>, decltype(std::declval<C &>().size())>> =
    std::is_trivially_copyable_v<std::remove_cv_t<element_of<C>>>;

/// Whether C can change its size.
template <class C, class = void>
inline constexpr bool can_resize = false;
template <class C>
inline constexpr bool can_resize<C, std::void_t<decltype(std::declval<C &>().resize(std::size_t{}))>> = true;

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

/// What a constructor does when the C function has failed: throws, or stores the error in `*to`.
template <class Handle>
Handle *checked(Handle *handle, const char *doing, std::string_view name, std::error_code *to)
{
    if (to) *to = handle ? std::error_code() : make_error_code(shm_last_error());
    if (handle || to) return handle;
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
/// \endcond

/// A message in bytes that other code owns. Like a std::string_view, a view must not outlive the bytes.
///
/// \ingroup cpp_general
/// \par Threads
/// Any thread. The bytes must not change meanwhile.
class view {
public:
    /// An empty view.
    constexpr view() noexcept = default;
    /// Bytes at an address.
    /// \param data The address.
    /// \param size The number of bytes.
    constexpr view(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    /// A pointer to a text, without the NUL at its end.
    /// \param text The pointer.
    template <class T, std::enable_if_t<std::is_same_v<T, const char *> || std::is_same_v<T, char *>, int> = 0>
    view(const T &text) noexcept : view(std::string_view(text))
    {
    }
    /// A string literal, without the NUL at its end. Another constant array of char is sent whole, unless it ends with a
    /// NUL.
    /// \param text The literal.
    template <std::size_t N>
    constexpr view(const char (&text)[N]) noexcept : view(text, text[N - 1] == 0 ? N - 1 : N)
    {
    }
    /// An array, with all its bytes, also if it is of char: for a text in it, pass std::string_view(array).
    /// \param array The array.
    template <class T, std::size_t N, std::enable_if_t<std::is_trivially_copyable_v<T>, int> = 0>
    constexpr view(T (&array)[N]) noexcept : view(array, N * sizeof(T))
    {
    }
    /// A string, a vector, a std::array, a std::span: any object that has data() and size(), with trivially copyable
    /// elements.
    /// \param elements The object.
    template <class C, std::enable_if_t<detail::is_contiguous<const C> && !std::is_array_v<C>, int> = 0>
    constexpr view(const C &elements) noexcept
        : view(elements.data(), elements.size() * sizeof(detail::element_of<const C>))
    {
    }

    /// Returns the address of the bytes.
    /// \return The address.
    constexpr const void *data() const noexcept { return data_; }
    /// Returns the number of bytes.
    /// \return The number.
    constexpr std::size_t size() const noexcept { return size_; }
    /// Returns the address of the first byte.
    /// \return The address.
    const std::byte *begin() const noexcept { return static_cast<const std::byte *>(data_); }
    /// Returns the address after the last byte.
    /// \return The address.
    const std::byte *end() const noexcept { return begin() + size_; }
    /// Returns the bytes as a text.
    /// \return The text, which has no NUL at its end.
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }

    /// Returns the size for the C functions. A size of more than 32 bits becomes one that the C functions refuse as too
    /// long.
    /// \return The size in bytes.
    std::uint32_t size32() const noexcept { return size_ > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(size_); }

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/// Returns the bytes of a trivially copyable object, as a message. Both sides must give the type the same layout; a struct's
/// padding is sent too.
///
/// \ingroup cpp_general
/// \param object The object, which must outlive the view.
/// \return The view.
/// \par Threads
/// Any thread. The object must not change meanwhile.
template <class T, std::enable_if_t<std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>, int> = 0>
view bytes_of(const T &object) noexcept
{
    return {std::addressof(object), sizeof object};
}
/// \cond
/// A temporary object would be gone before the message is sent.
template <class T>
view bytes_of(const T &&) = delete;
/// \endcond

/// One of a channel's two directions; see shm_direction_t.
/// \ingroup cpp_general
enum class direction {
    /// Messages from the server to the client.
    server_to_client = SHM_DIR_SERVER_TO_CLIENT,
    /// Messages from the client to the server.
    client_to_server = SHM_DIR_CLIENT_TO_SERVER
};

/// Which users may connect to a server.
/// \ingroup cpp_options
enum class access {
    /// See SHM_ACCESS_OWNER.
    owner = SHM_ACCESS_OWNER,
    /// See SHM_ACCESS_EVERYONE.
    everyone = SHM_ACCESS_EVERYONE,
    /// See SHM_ACCESS_USERS.
    users = SHM_ACCESS_USERS,
    /// See SHM_ACCESS_ADMINISTRATORS.
    administrators = SHM_ACCESS_ADMINISTRATORS
};

/// Whose servers a client connects to.
/// \ingroup cpp_options
enum class trust {
    /// See SHM_TRUST_OWNER.
    owner = SHM_TRUST_OWNER,
    /// See SHM_TRUST_USERS.
    users = SHM_TRUST_USERS,
    /// See SHM_TRUST_ANYONE.
    anyone = SHM_TRUST_ANYONE
};

/// Something that happened to a channel; the fields are those of shm_event_t.
///
/// \ingroup cpp_options
/// \par Threads
/// The thread of the callback that gets it.
struct event {
    /// One of SHM_EVENT_...
    std::uint32_t kind = 0;
    /// The error. No error for SHM_EVENT_CONNECTED.
    std::error_code error{};
    /// SHM_EVENT_CONNECTED: the peer's process id. Otherwise 0.
    std::uint32_t process_id = 0;
    /// SHM_EVENT_CONNECTED: the number of the connection. Otherwise 0.
    std::uint32_t generation = 0;
    /// What happened, in English. It is valid until the callback returns.
    std::string_view text{};
};

/// Ends calls that connect, from another thread: see options::interrupter.
///
/// \ingroup cpp_options
/// \par Threads
/// Any thread. It must not be destroyed or moved meanwhile.
class interrupter {
public:
    /// Creates an interrupter.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    interrupter() : handle_(detail::checked(shm_interrupter_create(), "creating an interrupter", {}, nullptr)) {}

    /// Makes the calls to connect that use this interrupter fail with SHM_ERROR_INTERRUPTED, now and later, until
    /// resume(). A signal handler may call it too.
    void interrupt() noexcept { shm_interrupter_interrupt(handle_.get()); }
    /// Ends the effect of interrupt().
    void resume() noexcept { shm_interrupter_resume(handle_.get()); }
    /// Returns the handle for the C functions.
    /// \return The handle, which this object still owns.
    InterrupterHandle *get() const noexcept { return handle_.get(); }

private:
    struct freed {
        void operator()(InterrupterHandle *handle) const noexcept { shm_interrupter_free(handle); }
    };
    std::unique_ptr<InterrupterHandle, freed> handle_;
};

/// The options of an endpoint; the fields are those of shm_options_t.
///
/// \ingroup cpp_options
/// \par Threads
/// Any thread, one at a time. A constructor reads them only until it returns.
struct options {
    /// Bytes in each ring. 0: a server uses 2 MiB, a client uses the server's size.
    std::uint32_t ring_bytes = 0;
    /// The largest number of messages that each direction queues; see shm_options_t.message_limit.
    std::uint32_t message_limit = 0;
    /// The size of the longest message, which may be more than 65,535 bytes; see shm_options_t.max_message_bytes. 0: the usual sizes.
    std::uint32_t max_message_bytes = 0;
    /// How long a waiting call polls before it sleeps. Negative: the library chooses the time.
    std::chrono::microseconds spin{-1};
    /// How long receive() waits.
    std::chrono::milliseconds receive_timeout = forever;
    /// How often to check a peer whose process cannot be watched. 0: such a peer is refused.
    std::chrono::milliseconds check_interval{0};
    /// Servers: send() of both sides fails with SHM_ERROR_FULL where it would otherwise evict the oldest messages.
    bool reject_when_full = false;
    /// Servers without a name: the channel has events.
    bool anonymous_events = false;
    /// Servers: which users may connect.
    xshm::access access = xshm::access::owner;
    /// Clients: whose servers to connect to.
    xshm::trust trust = xshm::trust::owner;
    /// For access::users and trust::users: SIDs as text, on Linux user ids.
    std::vector<std::string> users{};
    /// A self-relative security descriptor, used instead of `access`. Windows only.
    std::vector<unsigned char> security_descriptor{};
    /// Servers for many clients: the number of clients that share a worker thread, from 1 to 30. 0: 30.
    std::uint32_t clients_per_worker = 0;
    /// Called for each event of the channel, for a log; see shm_options_t.on_event.
    std::function<void(const event &)> on_event{};
    /// Ends a constructor that connects, from another thread. The constructor must return before the interrupter is
    /// destroyed.
    const xshm::interrupter *interrupter = nullptr;
};

/// \cond
namespace detail {

/// Options in their C form, together with the data that they point to.
class c_options {
public:
    /// `on_event` keeps the callback as long as the handle exists.
    c_options(const options &from, std::function<void(const event &)> &on_event) : c(shm_options_default()), users_()
    {
        c.message_limit = from.message_limit;
        c.max_message_bytes = from.max_message_bytes;
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
        if (from.interrupter) c.interrupter = from.interrupter->get();
        if (from.on_event) {
            on_event = from.on_event;
            c.event_user_data = &on_event;
            c.on_event = report;
        }
    }

    c_options(const c_options &) = delete;
    c_options &operator=(const c_options &) = delete;

    shm_options_t c;

private:
    static void report(const shm_event_t *from, void *on_event);

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
void shielded(const Call &run, const Failed &failed) noexcept
{
    try {
        run();
    } catch (const std::exception &thrown) {
        report_exception(thrown.what(), failed);
    } catch (...) {
        report_exception("a callback threw an exception that is no std::exception", failed);
    }
}

#else

template <class Call, class Failed>
void shielded(const Call &run, const Failed &) noexcept
{
    run();
}

#endif

} // namespace detail

namespace detail {

inline void c_options::report(const shm_event_t *from, void *on_event)
{
    shielded(
        [&] {
            event happened;
            happened.kind = from->kind;
            if (from->error != SHM_SUCCESS) happened.error = make_error_code(from->error);
            happened.process_id = from->process_id;
            happened.generation = from->generation;
            happened.text = from->text;
            (*static_cast<std::function<void(const event &)> *>(on_event))(happened);
        },
        [] {});
}

/// What every structure of callbacks keeps for its object.
struct attachments {
    std::function<void(void *)> on_start{};
    std::function<void(const event &)> on_event{};
};

} // namespace detail
/// \endcond

/// A call that a client waits for the answer to. It may be copied, kept, and answered later, on any thread.
/// \ingroup cpp_calls
using call = shm_call_t;

/// The callbacks of a server for one client or of its client; see shm_callbacks_t. Omit the callbacks that you don't need.
///
/// \ingroup cpp_options
/// \par Threads
/// Any thread, one at a time, until it is passed to a constructor. See shm_callbacks_t for the threads that the
/// callbacks run on.
struct callbacks {
    /// A connection began.
    std::function<void()> on_connect{};
    /// The connection is over; shm_last_error reports how it ended.
    std::function<void()> on_disconnect{};
    /// A message is there.
    std::function<void()> on_data_available{};
    /// There is room again.
    std::function<void()> on_space_available{};
    /// An operation failed, or another callback threw an exception (SHM_ERROR_INTERNAL); last_error_message() describes
    /// it.
    std::function<void(std::error_code)> on_error{};
    /// Auto endpoints: a message arrived. The view is valid until the callback returns.
    std::function<void(direction, view)> on_message{};
    /// That many messages of that direction were lost.
    std::function<void(direction, std::uint32_t)> on_overflow{};
    /// Auto servers: a client called; answer it by auto_server::answer.
    std::function<void(call, view)> on_call{};
    /// \cond
    detail::attachments attached{};
    /// \endcond

    /// Returns the callbacks in their C form.
    /// \return The structure. It is valid while this object exists and is not moved.
    shm_callbacks_t c()
    {
        auto c = xshm_server_callbacks_default();
        c.user_data = this;
        c.on_start = [](void *handle, void *all) { self(all).attached.on_start(handle); };
        // clang-format off
        if (on_connect) c.on_connect = [](void *all) { self(all).guard([&] { self(all).on_connect(); }); };
        if (on_disconnect) c.on_disconnect = [](void *all) { self(all).guard([&] { self(all).on_disconnect(); }); };
        if (on_data_available) c.on_data_available = [](void *all) { self(all).guard([&] { self(all).on_data_available(); }); };
        if (on_space_available) c.on_space_available = [](void *all) { self(all).guard([&] { self(all).on_space_available(); }); };
        // clang-format on
        if (on_error) {
            c.on_error = [](shm_error_t code, void *all) {
                detail::shielded([&] { self(all).on_error(make_error_code(code)); }, [] {});
            };
        }
        if (on_message) {
            c.on_message = [](shm_direction_t way, const void *data, std::uint32_t size, void *all) {
                self(all).guard([&] { self(all).on_message(static_cast<direction>(way), view(data, size)); });
            };
        }
        if (on_overflow) {
            c.on_overflow = [](shm_direction_t way, std::uint32_t count, void *all) {
                self(all).guard([&] { self(all).on_overflow(static_cast<direction>(way), count); });
            };
        }
        if (on_call) {
            c.on_call = [](shm_call_t from, const void *data, std::uint32_t size, void *all) {
                self(all).guard([&] { self(all).on_call(from, view(data, size)); });
            };
        }
        return c;
    }

private:
    static callbacks &self(void *all) { return *static_cast<callbacks *>(all); }

    template <class Call>
    void guard(const Call &run) noexcept
    {
        detail::shielded(run, [&] {
            if (on_error) on_error(make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// The process and the user of the peer.
///
/// \ingroup cpp_endpoints
/// \par Threads
/// Any thread, one at a time.
struct peer_identity {
    /// The process id.
    std::uint32_t process_id = 0;
    /// A SID as text, on Linux a number; empty if the system doesn't report it.
    std::string user{};
};

/// Messages that are received together, in a buffer that can be reused.
///
/// \ingroup cpp_batches
/// \par Threads
/// Any thread, one at a time.
class batch {
public:
    /// Reserves room for messages. The room is at least 65,535 bytes. It grows if the next message alone is longer, which only
    /// happens on channels with options::max_message_bytes.
    /// \param messages The largest number of messages.
    /// \param bytes The largest number of bytes of these messages together.
    explicit batch(std::size_t messages = 250, std::size_t bytes = 256 * 1024)
        : bytes_(bytes < 65535 ? 65535 : bytes), messages_(messages < 1 ? 1 : messages)
    {
    }

    /// Returns the number of messages.
    /// \return The number.
    std::size_t size() const noexcept { return count_; }
    /// Returns whether the batch has no message.
    /// \return true: it has none.
    bool empty() const noexcept { return count_ == 0; }
    /// Returns a message. It is valid until the batch is filled anew, moved or destroyed.
    /// \param at Its index, less than size().
    /// \return The message.
    view operator[](std::size_t at) const noexcept { return {messages_[at].data, messages_[at].size}; }

    /// Returns the oldest message.
    /// \return The message. The batch must not be empty.
    view front() const noexcept { return (*this)[0]; }
    /// Returns the newest message.
    /// \return The message. The batch must not be empty.
    view back() const noexcept { return (*this)[count_ - 1u]; }

    /// Iterates over the messages, oldest first, in any order. It has all operators of a random-access iterator. The
    /// messages are valid until the batch is filled anew, moved or destroyed.
    class iterator {
    public:
        /// \cond
        /// As std::vector<bool>'s, it returns objects in place of references.
        using iterator_category = std::random_access_iterator_tag;
        using value_type = view;
        using reference = view;
        using difference_type = std::ptrdiff_t;
        struct pointer {
            view message;
            const view *operator->() const noexcept { return &message; }
        };

        iterator() noexcept = default;
        explicit iterator(const shm_message_t *at) noexcept : at_(at) {}
        view operator*() const noexcept { return {at_->data, at_->size}; }
        pointer operator->() const noexcept { return {**this}; }
        view operator[](difference_type distance) const noexcept { return *(*this + distance); }
        iterator &operator++() noexcept { return *this += 1; }
        iterator operator++(int) noexcept { return iterator(at_++); }
        iterator &operator--() noexcept { return *this -= 1; }
        iterator operator--(int) noexcept { return iterator(at_--); }
        iterator &operator+=(difference_type distance) noexcept
        {
            at_ += distance;
            return *this;
        }
        iterator &operator-=(difference_type distance) noexcept
        {
            at_ -= distance;
            return *this;
        }
        friend iterator operator+(iterator it, difference_type distance) noexcept { return it += distance; }
        friend iterator operator+(difference_type distance, iterator it) noexcept { return it += distance; }
        friend iterator operator-(iterator it, difference_type distance) noexcept { return it -= distance; }
        friend difference_type operator-(iterator a, iterator b) noexcept { return a.at_ - b.at_; }
        friend bool operator==(iterator a, iterator b) noexcept { return a.at_ == b.at_; }
        friend bool operator!=(iterator a, iterator b) noexcept { return a.at_ != b.at_; }
        friend bool operator<(iterator a, iterator b) noexcept { return a.at_ < b.at_; }
        friend bool operator>(iterator a, iterator b) noexcept { return b < a; }
        friend bool operator<=(iterator a, iterator b) noexcept { return !(b < a); }
        friend bool operator>=(iterator a, iterator b) noexcept { return !(a < b); }
        /// \endcond

    private:
        const shm_message_t *at_ = nullptr;
    };
    /// The same as iterator: the messages cannot be changed.
    using const_iterator = iterator;
    /// What the iterators point to.
    using value_type = view;
    /// Returns an iterator at the oldest message.
    /// \return The iterator.
    iterator begin() const noexcept { return iterator(messages_.data()); }
    /// Returns an iterator after the newest message.
    /// \return The iterator.
    iterator end() const noexcept { return begin() + static_cast<std::ptrdiff_t>(count_); }

    /// Lets a C function fill the batch.
    /// \param fill_by Gets the arguments `buffer`, `size`, `messages` and `count` of shm_server_receive_batch, and
    ///   returns its code.
    /// \return No error, or the code that `fill_by` returned. The batch is empty then.
    template <class Fill>
    std::error_code fill(const Fill &fill_by)
    {
        for (;;) {
            count_ = static_cast<std::uint32_t>(messages_.size());
            const shm_error_t code =
                fill_by(bytes_.data(), static_cast<std::uint32_t>(bytes_.size()), messages_.data(), &count_);
            // The longest message fits into half of 1 GiB.
            if (code != SHM_ERROR_BUFFER_TOO_SMALL || bytes_.size() > (std::size_t{1} << 29)) return code;
            bytes_.resize(bytes_.size() * 2);
        }
    }

private:
    std::vector<std::byte> bytes_;
    std::vector<shm_message_t> messages_;
    std::uint32_t count_ = 0;
};

/// The objects that an event loop waits for; see shm_wait_handles_t. The destructor closes them.
///
/// \ingroup cpp_endpoints
/// \par Threads
/// Any thread, one at a time.
class wait_handles {
public:
    /// What next_look() returns if there is no such time.
    static constexpr std::chrono::steady_clock::time_point never = (std::chrono::steady_clock::time_point::max)();

    /// No objects.
    wait_handles() noexcept = default;
    /// Takes the objects of another.
    /// \param other The other, which has none afterwards.
    wait_handles(wait_handles &&other) noexcept
        : c_(std::exchange(other.c_, {-1, -1})), next_look_(std::exchange(other.next_look_, never))
    {
    }
    /// Exchanges the objects with another.
    /// \param other The other.
    /// \return This object.
    wait_handles &operator=(wait_handles &&other) noexcept
    {
        std::swap(c_, other.c_);
        std::swap(next_look_, other.next_look_);
        return *this;
    }
    /// Closes the objects.
    ~wait_handles() { shm_wait_handles_close(&c_); }

    /// Returns what becomes ready when the peer has signalled.
    /// \return A descriptor (Linux) or an event's handle (Windows). -1: the channel has no events.
    std::intptr_t data() const noexcept { return c_.data; }
    /// Returns what becomes ready when the peer's process has ended.
    /// \return A pidfd (Linux) or a process handle (Windows). -1: the process cannot be watched, or the channel has no
    ///   events.
    std::intptr_t peer() const noexcept { return c_.peer; }
    /// Returns the time at which to look again at the latest, although no object is ready.
    /// \return The time. never: there is no such time, as for messages and for room.
    std::chrono::steady_clock::time_point next_look() const noexcept { return next_look_; }
    /// Closes the objects, and returns the structure for a C function that stores others.
    /// \return The structure, which this object owns.
    shm_wait_handles_t *replace() noexcept
    {
        shm_wait_handles_close(&c_);
        next_look_ = never;
        return &c_;
    }
    /// Lets a C function replace the objects and the time of the next look.
    /// \param replace_by Gets the arguments `out` and `next_look_ms` of shm_server_accept_handles, and returns its code.
    /// \return No error, or the code that `replace_by` returned. There are no objects then.
    template <class Replace>
    std::error_code replace(const Replace &replace_by)
    {
        std::uint32_t next_look_ms = 0;
        const shm_error_t code = replace_by(replace(), &next_look_ms);
        if (code == SHM_SUCCESS && next_look_ms != SHM_FOREVER) {
            next_look_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(next_look_ms);
        }
        return code;
    }

private:
    shm_wait_handles_t c_{-1, -1};
    std::chrono::steady_clock::time_point next_look_ = never;
};

/// What the classes have in common. Programs use the classes that inherit from these.
namespace detail {

/// \cond
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
    static constexpr auto send_batch_timeout = shm_server_send_batch_timeout;
    static constexpr auto receive_batch = shm_server_receive_batch;
    static constexpr auto reserve = shm_server_reserve;
    static constexpr auto try_reserve = shm_server_try_reserve;
    static constexpr auto reserve_timeout = shm_server_reserve_timeout;
    static constexpr auto commit = shm_server_commit;
    static constexpr auto borrow = shm_server_borrow;
    static constexpr auto release = shm_server_release;
    static constexpr auto poll = shm_server_poll;
    static constexpr auto is_connected = shm_server_is_connected;
    static constexpr auto max_message_bytes = shm_server_max_message_bytes;
    static constexpr auto peer = shm_server_peer;
    static constexpr auto stats = shm_server_stats;
    static constexpr auto interrupt = shm_server_interrupt;
    static constexpr auto resume = shm_server_resume;
    static constexpr auto wait_handles = shm_server_wait_handles;
    static constexpr auto arm = shm_server_arm;
    static constexpr auto disarm = shm_server_disarm;
    static constexpr auto room_handles = shm_server_room_handles;
    static constexpr auto arm_room = shm_server_arm_room;
    static constexpr auto disarm_room = shm_server_disarm_room;
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
    static constexpr auto send_batch_timeout = shm_client_send_batch_timeout;
    static constexpr auto receive_batch = shm_client_receive_batch;
    static constexpr auto reserve = shm_client_reserve;
    static constexpr auto try_reserve = shm_client_try_reserve;
    static constexpr auto reserve_timeout = shm_client_reserve_timeout;
    static constexpr auto commit = shm_client_commit;
    static constexpr auto borrow = shm_client_borrow;
    static constexpr auto release = shm_client_release;
    static constexpr auto poll = shm_client_poll;
    static constexpr auto is_connected = shm_client_is_connected;
    static constexpr auto max_message_bytes = shm_client_max_message_bytes;
    static constexpr auto peer = shm_client_peer;
    static constexpr auto stats = shm_client_stats;
    static constexpr auto interrupt = shm_client_interrupt;
    static constexpr auto resume = shm_client_resume;
    static constexpr auto wait_handles = shm_client_wait_handles;
    static constexpr auto arm = shm_client_arm;
    static constexpr auto disarm = shm_client_disarm;
    static constexpr auto room_handles = shm_client_room_handles;
    static constexpr auto arm_room = shm_client_arm_room;
    static constexpr auto disarm_room = shm_client_disarm_room;
};
/// \endcond

/// A handle and its callbacks; the handle is destroyed first.
///
/// \par Threads
/// Any thread. The object must not be moved, stopped or destroyed meanwhile.
template <class Handle, void (*Stop)(Handle *), class Callbacks>
class owner {
public:
    /// Takes the handle of another object.
    /// \param other The other, which is unusable afterwards.
    owner(owner &&other) noexcept
        : handle_(other.handle_.exchange(nullptr)), callbacks_(std::move(other.callbacks_))
    {
    }

    /// Stops the endpoint, and takes the handle of another object.
    /// \param other The other, which is unusable afterwards.
    /// \return This object.
    owner &operator=(owner &&other) noexcept
    {
        if (this != &other) {
            stop();
            handle_ = other.handle_.exchange(nullptr);
            callbacks_ = std::move(other.callbacks_);
        }
        return *this;
    }

    /// Stops and frees the handle. See stop().
    ~owner() { stop(); }

    /// Stops and frees the handle, as the destructor does. The object is unusable afterwards. See shm_server_stop, and
    /// the stop and disconnect functions of the other endpoints.
    void stop() noexcept { Stop(handle_.exchange(nullptr)); }

    /// Returns the handle for the C functions.
    /// \return The handle, which this object still owns.
    Handle *get() const noexcept { return handle_; }

    /// Returns whether the object has a handle.
    /// \return false: the constructor failed, or the object was stopped or moved from.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

/// \cond
protected:
    /// Without a handle.
    owner() noexcept : callbacks_() {}

    explicit owner(Callbacks given) : callbacks_(std::make_unique<Callbacks>(std::move(given)))
    {
        // The C function calls it before all other callbacks, inside this object's constructor.
        callbacks_->attached.on_start = [this](void *handle) { handle_ = static_cast<Handle *>(handle); };
    }

    /// Callbacks may use the object while its constructor runs.
    std::atomic<Handle *> handle_{nullptr};
    std::unique_ptr<Callbacks> callbacks_;
/// \endcond
};

/// The same as owner, for handles that have their own threads.
template <class Handle, void (*Stop)(Handle *), shm_error_t (*Request)(Handle *),
          shm_error_t (*Within)(Handle *, std::uint32_t), class Callbacks>
/// The same as owner, for handles that have their own threads.
///
/// \par Threads
/// Any thread. The object must not be moved, stopped or destroyed meanwhile.
class background : public owner<Handle, Stop, Callbacks> {
public:
    /// Begins to stop, and returns without waiting. Use it in callbacks: another thread destroys the object later.
    /// \return No error, or a code that each function can return.
    [[nodiscard]] std::error_code request_stop() { return Request(this->handle_); }

    /// Stops and frees the handle, as stop() does, but limits the wait.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error: the object is unusable afterwards. SHM_ERROR_TIMEOUT: the endpoint has not ended yet, and the
    ///   object is still usable. Or another code of shm_server_stop_timeout_auto.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code stop(std::chrono::duration<Rep, Period> timeout)
    {
        const std::error_code code = Within(this->handle_, milliseconds(timeout));
        if (!code) this->handle_ = nullptr;
        return code;
    }

    /// Stops without a limit.
    using owner<Handle, Stop, Callbacks>::stop;

/// \cond
protected:
    using owner<Handle, Stop, Callbacks>::owner;
/// \endcond
};

/// The common functions of a server and a client.
///
/// \par Threads
/// Any thread, as for the C functions: one thread may send while another receives, and senders or receivers wait for
/// each other. The object must not be moved, stopped or destroyed meanwhile.
template <class F>
class endpoint : public owner<typename F::handle, F::stop, callbacks> {
    using base = owner<typename F::handle, F::stop, callbacks>;

public:
    /// Sends a message. Never waits: a full queue evicts its oldest messages.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_server_send (of a client: shm_client_send).
    [[nodiscard]] std::error_code send(view message) { return F::send(this->handle_, message.data(), message.size32()); }

    /// Sends a message if there is room.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_server_try_send (of a client: shm_client_try_send). SHM_ERROR_FULL: there is no
    ///   room, and the queue is unchanged.
    [[nodiscard]] std::error_code try_send(view message)
    {
        return F::try_send(this->handle_, message.data(), message.size32());
    }

    /// Sends a message, and waits for room if there is none.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_send_timeout (of a client: shm_client_send_timeout). SHM_ERROR_TIMEOUT:
    ///   there was no room.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return F::send_timeout(this->handle_, message.data(), message.size32(), milliseconds(timeout));
    }

    /// Waits for a message, for as long as the options allow.
    /// \param[out] buffer A std::string or a std::vector of bytes, which grows as needed. A failure leaves it as it was.
    /// \return No error, or a code of shm_server_receive (of a client: shm_client_receive).
    template <class Buffer>
    [[nodiscard]] std::error_code receive(Buffer &buffer)
    {
        return grow_and_fill(buffer, [&](void *to, std::uint32_t *size) { return F::receive(this->handle_, to, size); });
    }

    /// Waits for a message for a limited time.
    /// \param[out] buffer A std::string or a std::vector of bytes, which grows as needed. A failure leaves it as it was.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_receive_timeout (of a client: shm_client_receive_timeout).
    ///   SHM_ERROR_TIMEOUT: none came.
    template <class Buffer, class Rep, class Period>
    [[nodiscard]] std::error_code receive(Buffer &buffer, std::chrono::duration<Rep, Period> timeout)
    {
        return grow_and_fill(buffer, [&](void *to, std::uint32_t *size) {
            return F::receive_timeout(this->handle_, to, size, milliseconds(timeout));
        });
    }

    /// Receives a message without waiting.
    /// \param[out] buffer A std::string or a std::vector of bytes, which grows as needed. A failure leaves it as it was.
    /// \return No error, or a code of shm_server_try_receive (of a client: shm_client_try_receive). SHM_ERROR_EMPTY:
    ///   there is no message.
    template <class Buffer>
    [[nodiscard]] std::error_code try_receive(Buffer &buffer)
    {
        return grow_and_fill(buffer, [&](void *to, std::uint32_t *size) { return F::try_receive(this->handle_, to, size); });
    }

    /// Waits for a message, for as long as the options allow, and copies it into memory of a fixed size.
    /// \param[out] buffer Gets the message: a std::span, a std::array, or another container or array of trivially
    ///   copyable elements that keeps its size.
    /// \param[out] size Gets the number of bytes; after SHM_ERROR_BUFFER_TOO_SMALL the size needed. The message stays in
    ///   the queue then.
    /// \return No error, or a code of shm_server_receive (of a client: shm_client_receive).
    template <class Buffer>
    [[nodiscard]] std::error_code receive_into(Buffer &&buffer, std::size_t &size)
    {
        return fill(buffer, size, [&](void *to, std::uint32_t *size32) { return F::receive(this->handle_, to, size32); });
    }

    /// Waits for a message for a limited time, and copies it into memory of a fixed size.
    /// \param[out] buffer Gets the message: a std::span, a std::array, or another container or array of trivially
    ///   copyable elements that keeps its size.
    /// \param[out] size Gets the number of bytes; after SHM_ERROR_BUFFER_TOO_SMALL the size needed. The message stays in
    ///   the queue then.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_receive_timeout (of a client: shm_client_receive_timeout).
    template <class Buffer, class Rep, class Period>
    [[nodiscard]] std::error_code receive_into(Buffer &&buffer, std::size_t &size, std::chrono::duration<Rep, Period> timeout)
    {
        return fill(buffer, size, [&](void *to, std::uint32_t *size32) {
            return F::receive_timeout(this->handle_, to, size32, milliseconds(timeout));
        });
    }

    /// Copies a message into memory of a fixed size, without waiting.
    /// \param[out] buffer Gets the message: a std::span, a std::array, or another container or array of trivially
    ///   copyable elements that keeps its size.
    /// \param[out] size Gets the number of bytes; after SHM_ERROR_BUFFER_TOO_SMALL the size needed. The message stays in
    ///   the queue then.
    /// \return No error, or a code of shm_server_try_receive (of a client: shm_client_try_receive).
    template <class Buffer>
    [[nodiscard]] std::error_code try_receive_into(Buffer &&buffer, std::size_t &size)
    {
        return fill(buffer, size, [&](void *to, std::uint32_t *size32) { return F::try_receive(this->handle_, to, size32); });
    }

    /// Waits for a trivially copyable object, for as long as the options allow.
    /// \param[out] object Gets the object, which the peer has sent by bytes_of(). A failure leaves it as it was.
    /// \return No error, or a code of shm_server_receive (of a client: shm_client_receive). SHM_ERROR_BUFFER_TOO_SMALL:
    ///   the message is longer, and stays in the queue. SHM_ERROR_MESSAGE_TOO_SMALL: the message was shorter; it is lost.
    template <class T>
    [[nodiscard]] std::error_code receive_object(T &object)
    {
        return fill_object(object, [&](void *to, std::uint32_t *size) { return F::receive(this->handle_, to, size); });
    }

    /// Waits for a trivially copyable object for a limited time.
    /// \param[out] object Gets the object, which the peer has sent by bytes_of(). A failure leaves it as it was.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_receive_timeout (of a client: shm_client_receive_timeout).
    ///   SHM_ERROR_BUFFER_TOO_SMALL: the message is longer, and stays in the queue. SHM_ERROR_MESSAGE_TOO_SMALL: the
    ///   message was shorter; it is lost.
    template <class T, class Rep, class Period>
    [[nodiscard]] std::error_code receive_object(T &object, std::chrono::duration<Rep, Period> timeout)
    {
        return fill_object(object, [&](void *to, std::uint32_t *size) {
            return F::receive_timeout(this->handle_, to, size, milliseconds(timeout));
        });
    }

    /// Receives a trivially copyable object without waiting.
    /// \param[out] object Gets the object, which the peer has sent by bytes_of(). A failure leaves it as it was.
    /// \return No error, or a code of shm_server_try_receive (of a client: shm_client_try_receive).
    ///   SHM_ERROR_BUFFER_TOO_SMALL: the message is longer, and stays in the queue. SHM_ERROR_MESSAGE_TOO_SMALL: the
    ///   message was shorter; it is lost.
    template <class T>
    [[nodiscard]] std::error_code try_receive_object(T &object)
    {
        return fill_object(object, [&](void *to, std::uint32_t *size) { return F::try_receive(this->handle_, to, size); });
    }

    /// Sends messages in order, each as send() does. A peer that sleeps is woken after the first few.
    /// \param messages The messages: a container of objects that convert to a view.
    /// \param[out] sent Gets the number of messages sent, counted from the first. May be nullptr.
    /// \return No error, or a code of shm_server_send_batch (of a client: shm_client_send_batch). SHM_ERROR_FULL, if the
    ///   server's options reject: not all messages had room.
    template <class Messages>
    [[nodiscard]] std::error_code send_batch(const Messages &messages, std::size_t *sent = nullptr)
    {
        return send_all(F::send_batch, messages, sent);
    }

    /// Sends messages in order for as long as there is room; evicts nothing.
    /// \param messages The messages: a container of objects that convert to a view.
    /// \param[out] sent Gets the number of messages sent, counted from the first. May be nullptr.
    /// \return No error, or a code of shm_server_try_send_batch (of a client: shm_client_try_send_batch). SHM_ERROR_FULL:
    ///   not all messages had room.
    template <class Messages>
    [[nodiscard]] std::error_code try_send_batch(const Messages &messages, std::size_t *sent = nullptr)
    {
        return send_all(F::try_send_batch, messages, sent);
    }

    /// Sends messages in order, and waits for room where there is none; evicts nothing.
    /// \param messages The messages: a container of objects that convert to a view.
    /// \param timeout How long to wait for room in all. xshm::forever: without a limit.
    /// \param[out] sent Gets the number of messages sent, counted from the first. May be nullptr.
    /// \return No error, or a code of shm_server_send_batch_timeout (of a client: shm_client_send_batch_timeout).
    ///   SHM_ERROR_TIMEOUT: not all messages had room in time.
    template <class Messages, class Rep, class Period>
    [[nodiscard]] std::error_code send_batch(const Messages &messages, std::chrono::duration<Rep, Period> timeout,
                                             std::size_t *sent = nullptr)
    {
        const auto send_within = [&](typename F::handle *handle, const shm_message_t *all, std::uint32_t count, std::uint32_t *done) {
            return F::send_batch_timeout(handle, all, count, done, milliseconds(timeout));
        };
        return send_all(send_within, messages, sent);
    }

    /// Waits for a message, and takes it together with all further messages that are there and that the batch has room
    /// for.
    /// \param[out] out Gets the messages. It is empty after a failure.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_receive_batch (of a client: shm_client_receive_batch).
    template <class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
    [[nodiscard]] std::error_code receive_batch(batch &out, std::chrono::duration<Rep, Period> timeout = forever)
    {
        return out.fill([&](void *to, std::uint32_t size, shm_message_t *messages, std::uint32_t *count) {
            return F::receive_batch(this->handle_, to, size, messages, count, milliseconds(timeout));
        });
    }

    /// Reserves room for a message in shared memory, has it written, and sends it. The peer can write the memory too:
    /// don't trust what you read back from it.
    /// \param size The size of the message in bytes: 2 to 65,535, or up to options::max_message_bytes.
    /// \param write Is called with the address, a `std::byte *`, and writes the message. If it throws, the exception
    ///   propagates and nothing is sent.
    /// \return No error, or a code of shm_server_reserve (of a client: shm_client_reserve).
    template <class Write>
    [[nodiscard]] std::error_code send_with(std::size_t size, Write &&write)
    {
        return write_and_send(std::forward<Write>(write), [&](void **place) {
            return F::reserve(this->handle_, view(nullptr, size).size32(), place);
        });
    }

    /// Does the same as send_with() if there is room; evicts nothing.
    /// \param size The size of the message in bytes: 2 to 65,535, or up to options::max_message_bytes.
    /// \param write Is called with the address, a `std::byte *`, and writes the message. If it throws, the exception
    ///   propagates and nothing is sent.
    /// \return No error, or a code of shm_server_try_reserve (of a client: shm_client_try_reserve). SHM_ERROR_FULL: there
    ///   is no room, and `write` was not called.
    template <class Write>
    [[nodiscard]] std::error_code try_send_with(std::size_t size, Write &&write)
    {
        return write_and_send(std::forward<Write>(write), [&](void **place) {
            return F::try_reserve(this->handle_, view(nullptr, size).size32(), place);
        });
    }

    /// Does the same as send_with(), but waits for room if there is none; evicts nothing.
    /// \param size The size of the message in bytes: 2 to 65,535, or up to options::max_message_bytes.
    /// \param write Is called with the address, a `std::byte *`, and writes the message. If it throws, the exception
    ///   propagates and nothing is sent.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_reserve_timeout (of a client: shm_client_reserve_timeout).
    template <class Write, class Rep, class Period>
    [[nodiscard]] std::error_code send_with(std::size_t size, Write &&write, std::chrono::duration<Rep, Period> timeout)
    {
        return write_and_send(std::forward<Write>(write), [&](void **place) {
            return F::reserve_timeout(this->handle_, view(nullptr, size).size32(), place, milliseconds(timeout));
        });
    }

    /// Waits for a message, has it read in shared memory, and takes it. Use it only with trusted peers, and if the
    /// server's options reject when full.
    /// \param read Is called with a view of the message. If it throws, the exception propagates and the message stays in
    ///   the queue.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_borrow (of a client: shm_client_borrow).
    template <class Read, class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
    [[nodiscard]] std::error_code receive_with(Read &&read, std::chrono::duration<Rep, Period> timeout = forever)
    {
        const void *data = nullptr;
        std::uint32_t size = 0;
        if (const shm_error_t code = F::borrow(this->handle_, &data, &size, milliseconds(timeout))) return code;
        std::forward<Read>(read)(view(data, size));
        return F::release(this->handle_);
    }

    /// Waits until a message is there, and leaves it in the queue.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_poll (of a client: shm_client_poll). SHM_ERROR_TIMEOUT: there is none;
    ///   SHM_ERROR_EMPTY if the time is 0.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code poll(std::chrono::duration<Rep, Period> timeout)
    {
        return F::poll(this->handle_, milliseconds(timeout));
    }

    /// Returns whether the peer is connected. Asks the system whether its process still runs.
    /// \return true: the peer is connected.
    bool is_connected() const noexcept { return F::is_connected(this->handle_); }

    /// Returns the size of the longest message in bytes, in both directions.
    /// \return The size.
    std::uint32_t max_message_bytes() const noexcept { return F::max_message_bytes(this->handle_); }

    /// Stores the peer's process and user.
    /// \param[out] out Gets the process and the user.
    /// \return No error, or a code of shm_server_peer (of a client: shm_client_peer).
    [[nodiscard]] std::error_code peer(peer_identity &out) const
    {
        char user[256] = "";
        const std::error_code error = F::peer(this->handle_, &out.process_id, user, sizeof user);
        if (!error) out.user = user;
        return error;
    }

    /// Stores the statistics of the session.
    /// \param[out] out Gets the statistics.
    /// \return No error, or a code of shm_server_stats (of a client: shm_client_stats).
    [[nodiscard]] std::error_code stats(shm_stats_t &out) const { return F::stats(this->handle_, &out); }

    /// Makes waiting calls return SHM_ERROR_INTERRUPTED, now and later, until resume(). A signal handler may call it too.
    void interrupt() noexcept { F::interrupt(this->handle_); }
    /// Ends the effect of interrupt().
    void resume() noexcept { F::resume(this->handle_); }

    /// Stores the objects that an event loop waits for, for the present session.
    /// \param[out] out Gets the objects; those of before are closed.
    /// \return No error, or a code of shm_server_wait_handles (of a client: shm_client_wait_handles).
    [[nodiscard]] std::error_code wait_handles(xshm::wait_handles &out) const
    {
        return F::wait_handles(this->handle_, out.replace());
    }

    /// Asks the peer to signal its next message. See shm_server_arm.
    /// \param[out] is_ready true: don't wait, but receive. false: wait until one of the wait_handles() is ready, then
    ///   call disarm(), and receive.
    /// \return No error, or a code of shm_server_arm (of a client: shm_client_arm).
    [[nodiscard]] std::error_code arm(bool &is_ready) { return F::arm(this->handle_, &is_ready); }
    /// Withdraws the request of arm().
    /// \return No error, or a code of shm_server_disarm (of a client: shm_client_disarm).
    [[nodiscard]] std::error_code disarm() { return F::disarm(this->handle_); }

    /// Stores the objects that an event loop waits for until there is room to send, for the present session.
    /// \param[out] out Gets the objects; those of before are closed.
    /// \return No error, or a code of shm_server_room_handles (of a client: shm_client_room_handles).
    [[nodiscard]] std::error_code room_handles(xshm::wait_handles &out) const
    {
        return F::room_handles(this->handle_, out.replace());
    }

    /// Asks the peer to signal when it next takes a message. See shm_server_arm_room.
    /// \param size The size of the message that is to be sent, in bytes.
    /// \param[out] is_ready true: don't wait, but send by try_send(). false: wait until one of the room_handles() is
    ///   ready, then call disarm_room(), and send.
    /// \return No error, or a code of shm_server_arm_room (of a client: shm_client_arm_room).
    [[nodiscard]] std::error_code arm_room(std::size_t size, bool &is_ready)
    {
        return F::arm_room(this->handle_, view(nullptr, size).size32(), &is_ready);
    }
    /// Withdraws the request of arm_room().
    /// \return No error, or a code of shm_server_disarm_room (of a client: shm_client_disarm_room).
    [[nodiscard]] std::error_code disarm_room() { return F::disarm_room(this->handle_); }

/// \cond
protected:
    using base::base;
/// \endcond

private:
    template <class Write, class Reserve>
    std::error_code write_and_send(Write &&write, const Reserve &reserve)
    {
        void *place = nullptr;
        if (const shm_error_t code = reserve(&place)) return code;
        std::forward<Write>(write)(static_cast<std::byte *>(place));
        return F::commit(this->handle_);
    }

    template <class Send, class Messages>
    std::error_code send_all(Send send_by, const Messages &messages, std::size_t *sent)
    {
        std::vector<shm_message_t> all;
        for (const view message : messages) all.push_back({message.data(), message.size32()});
        std::uint32_t count = 0;
        const shm_error_t code = send_by(this->handle_, all.data(), static_cast<std::uint32_t>(all.size()), &count);
        if (sent) *sent = count;
        return code;
    }

    /// Receives into a container that can change its size. A failure leaves it as it was.
    template <class Buffer, class Receive>
    static std::error_code grow_and_fill(Buffer &buffer, const Receive &receive)
    {
        static_assert(is_contiguous<Buffer> && can_resize<Buffer>,
                      "messages are received into a string or a vector, or by receive_into or receive_object");
        static_assert(is_byte<element_of<Buffer>>, "messages are received into bytes; see also receive_object");
        const std::size_t before = buffer.size();
        if (before < 256) buffer.resize(buffer.capacity() < 256 ? 256 : buffer.capacity());
        for (;;) {
            auto size = view(nullptr, buffer.size()).size32();
            const shm_error_t code = receive(buffer.data(), &size);
            buffer.resize(code == SHM_SUCCESS || code == SHM_ERROR_BUFFER_TOO_SMALL ? size : before);
            if (code != SHM_ERROR_BUFFER_TOO_SMALL) return code;
        }
    }

    /// Receives into memory of a fixed size.
    template <class Buffer, class Receive>
    static std::error_code fill(Buffer &buffer, std::size_t &size, const Receive &receive)
    {
        using element = std::remove_reference_t<decltype(*std::data(buffer))>;
        static_assert(std::is_trivially_copyable_v<element> && !std::is_const_v<element>, "messages are received into bytes");
        auto size32 = view(nullptr, std::size(buffer) * sizeof(element)).size32();
        const shm_error_t code = receive(std::data(buffer), &size32);
        if (code == SHM_SUCCESS || code == SHM_ERROR_BUFFER_TOO_SMALL) size = size32;
        return code;
    }

    template <class T, class Receive>
    static std::error_code fill_object(T &object, const Receive &receive)
    {
        static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>, "an object is received as its bytes");
        alignas(T) unsigned char bytes[sizeof(T)];
        std::uint32_t size = sizeof bytes;
        if (const shm_error_t code = receive(bytes, &size)) return code;
        if (size != sizeof bytes) return SHM_ERROR_MESSAGE_TOO_SMALL;
        std::memcpy(std::addressof(object), bytes, sizeof bytes);
        return {};
    }
};

} // namespace detail

/// A server for one client. It works inside the calls that the program makes.
///
/// \ingroup cpp_endpoints
/// \par Threads
/// Any thread, as for the C functions: one thread may send while another receives. The object must not be moved,
/// stopped or destroyed meanwhile.
class server : public detail::endpoint<detail::server_functions> {
public:
    /// Starts a server under a name. See shm_server_start_with_options.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    explicit server(const std::string &name, callbacks calls = {}, const xshm::options &chosen = {})
        : server(&name, nullptr, std::move(calls), chosen)
    {
    }
    /// Starts a server under a name. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    server(const std::string &name, std::error_code &error, callbacks calls = {}, const xshm::options &chosen = {})
        : server(&name, &error, std::move(calls), chosen)
    {
    }

    /// Starts a server without a name, for clients that get section_handle() in some other way. See
    /// shm_server_start_anonymous.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \return The server.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    static server anonymous(callbacks calls = {}, const xshm::options &chosen = {})
    {
        return server(nullptr, nullptr, std::move(calls), chosen);
    }
    /// Starts a server without a name. Stores the error in place of throwing it.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \return The server. After a failure it has no handle.
    static server anonymous(std::error_code &error, callbacks calls = {}, const xshm::options &chosen = {})
    {
        return server(nullptr, &error, std::move(calls), chosen);
    }

    /// Receives a message or a call, for at most the given time. Answer a call by answer() or refuse().
    /// \param[out] buffer Gets the bytes: a std::string or a std::vector of bytes. A failure leaves it as it was.
    /// \param[out] is_call true: it is a call. false: it is a message like any other.
    /// \param[out] from Gets the call, for answer() and refuse().
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_receive_call.
    template <class Buffer, class Rep, class Period>
    [[nodiscard]] std::error_code receive_call(Buffer &buffer, bool &is_call, call &from, std::chrono::duration<Rep, Period> timeout)
    {
        static_assert(detail::can_resize<Buffer> && detail::is_byte<detail::element_of<Buffer>>,
                      "calls are received into a string or a vector of bytes");
        const std::size_t before = buffer.size();
        // The header of a call is received too.
        std::uint32_t size = SHM_MAX_MESSAGE;
        shm_error_t code = SHM_SUCCESS;
        do {
            buffer.resize(size);
            code = shm_server_receive_call(handle_, buffer.data(), &size, &is_call, &from, detail::milliseconds(timeout));
            // A longer one comes on channels with options::max_message_bytes alone. It is there still, and the call stored its size.
        } while (code == SHM_ERROR_BUFFER_TOO_SMALL && size > buffer.size());
        buffer.resize(code == SHM_SUCCESS ? size : before);
        return code;
    }

    /// Answers a call.
    /// \param to The call.
    /// \param message The answer: 0 to SHM_MAX_CALL bytes, or to options::max_message_bytes of the server minus 16.
    /// \return No error, or a code of shm_server_answer.
    [[nodiscard]] std::error_code answer(call to, view message)
    {
        return shm_server_answer(handle_, to, message.data(), message.size32());
    }

    /// Ends a call without an answer.
    /// \param to The call.
    /// \return No error, or a code of shm_server_refuse.
    [[nodiscard]] std::error_code refuse(call to) { return shm_server_refuse(handle_, to); }

    /// Waits for a client, and begins a session with empty queues.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_wait_for_client.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code wait_for_client(std::chrono::duration<Rep, Period> timeout)
    {
        return shm_server_wait_for_client(handle_, detail::milliseconds(timeout));
    }

    /// Waits for a client that does not signal its request.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_wait_for_client_noevent.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code wait_for_client_noevent(std::chrono::duration<Rep, Period> timeout)
    {
        return shm_server_wait_for_client_noevent(handle_, detail::milliseconds(timeout));
    }

    /// Accepts a client that waits, for an event loop: does what can be done without waiting. See shm_server_try_accept.
    /// \param[out] is_accepted true: a client is connected. false: wait until one of the accept_handles() is ready, at
    ///   most until their next_look(), and call it again.
    /// \return No error, or a code of shm_server_try_accept.
    [[nodiscard]] std::error_code try_accept(bool &is_accepted) { return shm_server_try_accept(handle_, &is_accepted); }

    /// Stores the objects that an event loop waits for until there may be a client to accept. They are valid until the
    /// next call of try_accept().
    /// \param[out] out Gets the objects and their next_look(); those of before are closed.
    /// \return No error, or a code of shm_server_accept_handles.
    [[nodiscard]] std::error_code accept_handles(xshm::wait_handles &out)
    {
        return out.replace([&](shm_wait_handles_t *to, std::uint32_t *next_look_ms) {
            return shm_server_accept_handles(handle_, to, next_look_ms);
        });
    }

    /// Ends the session with the present client.
    /// \return No error, or a code of shm_server_disconnect_client.
    [[nodiscard]] std::error_code disconnect_client() { return shm_server_disconnect_client(handle_); }

    /// Stores the channel's data events. See shm_server_get_event_handles.
    /// \param[out] out Gets the events.
    /// \return false: the server is anonymous and its options did not ask for events, or a message is reserved or
    ///   borrowed in place.
    bool get_event_handles(shm_event_handles_t &out) { return shm_server_get_event_handles(handle_, &out); }

    /// Stores all handles that the client's side needs.
    /// \param[out] out Gets the handles.
    /// \return No error, or a code of shm_server_client_handles.
    [[nodiscard]] std::error_code client_handles(shm_client_handles_t &out) const
    {
        return shm_server_client_handles(handle_, &out);
    }

    /// Returns the section's handle. See shm_server_section_handle.
    /// \return The handle, which the library owns. 0: the call failed.
    std::intptr_t section_handle() const noexcept { return shm_server_section_handle(handle_); }

private:
    server(const std::string *name, std::error_code *error, callbacks calls, const xshm::options &chosen)
        : endpoint(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const auto c = callbacks_->c();
        if (name) {
            const shm_endpoint_config_t config{name->c_str(), chosen.ring_bytes};
            handle_ = detail::checked(shm_server_start_with_options(&config, &c, &c_chosen.c), "starting the server", *name, error);
        } else {
            handle_ = detail::checked(shm_server_start_anonymous(chosen.ring_bytes, &c, &c_chosen.c), "starting a server", {}, error);
        }
    }
};

/// A client of a server, for one client or for many. It works inside the calls that the program makes.
///
/// \ingroup cpp_endpoints
/// \par Threads
/// Any thread, as for the C functions: one thread may send while another receives. The object must not be moved,
/// stopped or destroyed meanwhile.
class client : public detail::endpoint<detail::client_functions> {
public:
    /// Makes an object without a handle, for pending_connect::try_finish. All functions of the object fail.
    client() noexcept = default;
    /// Connects to the server that has the name. See shm_client_connect_with_options.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    template <class Rep, class Period>
    client(const std::string &name, std::chrono::duration<Rep, Period> timeout, callbacks calls = {},
           const xshm::options &chosen = {})
        : client(name, detail::milliseconds(timeout), nullptr, std::move(calls), chosen)
    {
    }
    /// Connects to the server that has the name. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    template <class Rep, class Period>
    client(const std::string &name, std::chrono::duration<Rep, Period> timeout, std::error_code &error, callbacks calls = {},
           const xshm::options &chosen = {})
        : client(name, detail::milliseconds(timeout), &error, std::move(calls), chosen)
    {
    }

    /// Connects to an anonymous server by a handle to its section. See shm_client_attach.
    /// \param section The handle, which the caller still owns.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \return The client.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    template <class Rep, class Period>
    static client attach(std::intptr_t section, std::chrono::duration<Rep, Period> timeout, callbacks calls = {},
                         const xshm::options &chosen = {})
    {
        const shm_client_handles_t handles{section, -1, -1, -1, -1, -1, -1, -1};
        return attach(handles, timeout, std::move(calls), chosen);
    }

    /// Connects to a server by the handles from its client_handles(). See shm_client_attach_handles.
    /// \param handles The handles, which the caller still owns.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \return The client.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    template <class Rep, class Period>
    static client attach(const shm_client_handles_t &handles, std::chrono::duration<Rep, Period> timeout,
                         callbacks calls = {}, const xshm::options &chosen = {})
    {
        return client(handles, detail::milliseconds(timeout), nullptr, std::move(calls), chosen);
    }
    /// Connects to a server by the handles from its client_handles(). Stores the error in place of throwing it.
    /// \param handles The handles, which the caller still owns.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param chosen The options of the channel.
    /// \return The client. After a failure it has no handle.
    template <class Rep, class Period>
    static client attach(const shm_client_handles_t &handles, std::chrono::duration<Rep, Period> timeout,
                         std::error_code &error, callbacks calls = {}, const xshm::options &chosen = {})
    {
        return client(handles, detail::milliseconds(timeout), &error, std::move(calls), chosen);
    }

    /// Returns the slot that a server for many clients has given this client.
    /// \return The slot. SHM_NO_CLIENT: the server serves one client.
    std::uint32_t slot_id() const noexcept { return shm_client_slot_id(handle_); }

private:
    client(const std::string &name, std::uint32_t timeout, std::error_code *error, callbacks calls, const xshm::options &chosen)
        : endpoint(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_client_connect_with_options(&config, &c, &c_chosen.c, timeout), "connecting to", name, error);
    }

    client(const shm_client_handles_t &handles, std::uint32_t timeout, std::error_code *error, callbacks calls,
           const xshm::options &chosen)
        : endpoint(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_client_attach_handles(&handles, &c, &c_chosen.c, timeout), "attaching to a section", {}, error);
    }

    friend class pending_connect;

    /// Stops this client, and finishes a connect. The callbacks become this client's before the first of them is called.
    std::error_code finish(PendingConnectHandle *connecting, std::unique_ptr<callbacks> &calls)
    {
        stop();
        if (calls) {
            calls->attached.on_start = [this, &calls](void *handle) {
                callbacks_ = std::move(calls);
                handle_ = static_cast<ClientHandle *>(handle);
            };
        }
        ClientHandle *finished = nullptr;
        return shm_pending_connect_try_finish(connecting, &finished);
    }
};

/// A connect that an event loop finishes: no call on it waits. See shm_client_begin_connect.
///
///     xshm::pending_connect connecting("name");
///     xshm::client client;
///     xshm::wait_handles handles;
///     while (true) {
///         if (auto error = connecting.try_finish(client)) return fail(error);
///         if (client) break;
///         if (auto error = connecting.wait_handles(handles)) return fail(error);
///         // The event loop waits for `handles`, at most until handles.next_look().
///     }
///
/// The destructor ends the connect. A client that it has returned stays connected.
///
/// \ingroup cpp_endpoints
/// \par Threads
/// Any thread, one at a time.
class pending_connect : public detail::owner<PendingConnectHandle, shm_pending_connect_free, callbacks> {
public:
    /// Begins to connect to the server that has the name. The server need not exist yet.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param calls The callbacks of the client.
    /// \param chosen The options of the channel. options::interrupter has no effect.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    explicit pending_connect(const std::string &name, callbacks calls = {}, const xshm::options &chosen = {})
        : pending_connect(name, nullptr, std::move(calls), chosen)
    {
    }
    /// Begins to connect to the server that has the name. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks of the client.
    /// \param chosen The options of the channel. options::interrupter has no effect.
    pending_connect(const std::string &name, std::error_code &error, callbacks calls = {}, const xshm::options &chosen = {})
        : pending_connect(name, &error, std::move(calls), chosen)
    {
    }

    /// Goes on with the connect as far as it can without waiting.
    /// \param[out] out Is stopped if it is a client already, and becomes the client when the connect succeeds. Without a
    ///   handle after the call: the connect needs more time, or the call failed. The callbacks may use the object.
    /// \return No error, or a code of shm_pending_connect_try_finish.
    [[nodiscard]] std::error_code try_finish(client &out) { return out.finish(handle_, callbacks_); }

    /// Stores the objects that an event loop waits for until the connect can go on. They are valid until the next call
    /// of try_finish().
    /// \param[out] out Gets the objects and their next_look(); those of before are closed.
    /// \return No error, or a code of shm_pending_connect_wait_handles.
    [[nodiscard]] std::error_code wait_handles(xshm::wait_handles &out)
    {
        return out.replace([&](shm_wait_handles_t *to, std::uint32_t *next_look_ms) {
            return shm_pending_connect_wait_handles(handle_, to, next_look_ms);
        });
    }

    /// Ends the connect, and returns why it is not finished.
    /// \return A code of shm_pending_connect_give_up, for example SHM_ERROR_TIMEOUT.
    std::error_code give_up() { return shm_pending_connect_give_up(handle_); }

private:
    pending_connect(const std::string &name, std::error_code *error, callbacks calls, const xshm::options &chosen)
        : owner(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_client_begin_connect(&config, &c, &c_chosen.c), "beginning to connect to", name, error);
    }
};

/// A client that calls a server, for one client or for many, and waits for its answers.
///
/// \ingroup cpp_calls
/// \par Threads
/// Any thread. Any number of threads may call at the same time. The object must not be moved or destroyed meanwhile.
class caller {
public:
    /// Connects to the server that has the name. See shm_caller_connect.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param chosen The options of the channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    template <class Rep, class Period>
    caller(const std::string &name, std::chrono::duration<Rep, Period> timeout, const xshm::options &chosen = {})
        : caller(name, detail::milliseconds(timeout), nullptr, chosen)
    {
    }
    /// Connects to the server that has the name. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param timeout How long to wait in all. xshm::forever: without a limit.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param chosen The options of the channel.
    template <class Rep, class Period>
    caller(const std::string &name, std::chrono::duration<Rep, Period> timeout, std::error_code &error,
           const xshm::options &chosen = {})
        : caller(name, detail::milliseconds(timeout), &error, chosen)
    {
    }

    /// Calls the server, and waits for the answer.
    /// \param message What to send: 0 to SHM_MAX_CALL bytes, or to options::max_message_bytes of the server minus 16.
    /// \param[out] answer Gets the answer: a std::string or a std::vector of bytes. A failure leaves it as it was.
    /// \param timeout How long to wait. xshm::forever: without a limit.
    /// \return No error, or a code of shm_caller_call.
    template <class Buffer, class Rep = std::chrono::milliseconds::rep, class Period = std::milli>
    [[nodiscard]] std::error_code call(view message, Buffer &answer, std::chrono::duration<Rep, Period> timeout = forever)
    {
        static_assert(detail::can_resize<Buffer> && detail::is_byte<detail::element_of<Buffer>>,
                      "an answer is received into a string or a vector of bytes");
        const std::size_t before = answer.size();
        answer.resize(SHM_MAX_CALL);
        std::uint32_t size = SHM_MAX_CALL;
        shm_error_t code = shm_caller_call(handle_.get(), message.data(), message.size32(), answer.data(), &size,
                                           detail::milliseconds(timeout));
        if (code == SHM_ERROR_BUFFER_TOO_SMALL) {
            answer.resize(size);
            code = shm_caller_last_answer(answer.data(), &size);
        }
        answer.resize(code == SHM_SUCCESS ? size : before);
        return code;
    }

    /// Stores what the caller has done so far.
    /// \param[out] out Gets the counts.
    /// \return No error, or a code of shm_caller_stats.
    [[nodiscard]] std::error_code stats(shm_caller_stats_t &out) const { return shm_caller_stats(handle_.get(), &out); }
    /// Returns whether the server is connected. Asks the system whether its process still runs.
    /// \return true: the server is connected.
    bool is_connected() const noexcept { return shm_caller_is_connected(handle_.get()); }
    /// Returns the slot that a server for many clients has given this caller.
    /// \return The slot. SHM_NO_CLIENT: the server serves one client.
    std::uint32_t slot_id() const noexcept { return shm_caller_slot_id(handle_.get()); }

    /// Makes calls that wait return SHM_ERROR_INTERRUPTED, now and later, until resume().
    void interrupt() noexcept { shm_caller_interrupt(handle_.get()); }
    /// Ends the effect of interrupt().
    void resume() noexcept { shm_caller_resume(handle_.get()); }

    /// Returns the handle for the C functions.
    /// \return The handle, which this object still owns.
    CallerHandle *get() const noexcept { return handle_.get(); }
    /// Returns whether the object has a handle.
    /// \return false: the constructor failed, or the object was moved from.
    explicit operator bool() const noexcept { return handle_ != nullptr; }

private:
    caller(const std::string &name, std::uint32_t timeout, std::error_code *error, const xshm::options &chosen)
    {
        const detail::c_options c_chosen(chosen, *on_event_);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        handle_.reset(detail::checked(shm_caller_connect(&config, &c_chosen.c, timeout), "connecting to", name, error));
    }

    struct freed {
        void operator()(CallerHandle *handle) const noexcept { shm_caller_disconnect(handle); }
    };
    std::unique_ptr<std::function<void(const event &)>> on_event_ = std::make_unique<std::function<void(const event &)>>();
    std::unique_ptr<CallerHandle, freed> handle_{};
};

/// How an auto endpoint behaves; see shm_auto_options_t.
/// \ingroup cpp_auto
using auto_options = shm_auto_options_t;

/// \cond
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
    static constexpr auto is_connected = shm_server_is_connected_auto;
    static constexpr auto peer = shm_server_peer_auto;
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
    static constexpr auto is_connected = shm_client_is_connected_auto;
    static constexpr auto peer = shm_client_peer_auto;
};

} // namespace detail
/// \endcond

/// An endpoint that works in the background: it connects, receives, and connects again, on its own worker thread.
///
/// \ingroup cpp_auto
/// \par Threads
/// Any thread, also inside callbacks. The object must not be moved, stopped or destroyed meanwhile.
template <class F>
class auto_endpoint
    : public detail::background<typename F::handle, F::stop, F::request_stop, F::stop_timeout, callbacks> {
    using base = detail::background<typename F::handle, F::stop, F::request_stop, F::stop_timeout, callbacks>;

public:
    /// Starts an endpoint in the background. See shm_server_start_auto_with_options and
    /// shm_client_connect_auto_with_options.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param calls The callbacks.
    /// \param behaviour How the endpoint works in the background.
    /// \param chosen The options of the channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    explicit auto_endpoint(const std::string &name, callbacks calls = {},
                           const auto_options &behaviour = shm_auto_options_default(), const xshm::options &chosen = {})
        : auto_endpoint(name, nullptr, std::move(calls), behaviour, chosen)
    {
    }
    /// Starts an endpoint in the background. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param behaviour How the endpoint works in the background.
    /// \param chosen The options of the channel.
    auto_endpoint(const std::string &name, std::error_code &error, callbacks calls = {},
                  const auto_options &behaviour = shm_auto_options_default(), const xshm::options &chosen = {})
        : auto_endpoint(name, &error, std::move(calls), behaviour, chosen)
    {
    }

    /// Sends a message, or queues it until there is a connection. Never waits.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_server_send_auto (of a client: shm_client_send_auto).
    [[nodiscard]] std::error_code send(view message) { return F::send(this->handle_, message.data(), message.size32()); }

    /// Sends a message, or queues it, if there is room.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_server_try_send_auto (of a client: shm_client_try_send_auto).
    [[nodiscard]] std::error_code try_send(view message)
    {
        return F::try_send(this->handle_, message.data(), message.size32());
    }

    /// Sends a message, or queues it, and waits for room if there is none.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_server_send_timeout_auto (of a client: shm_client_send_timeout_auto).
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return F::send_timeout(this->handle_, message.data(), message.size32(), detail::milliseconds(timeout));
    }

    /// Returns the endpoint's statistics.
    /// \return The statistics. Zeros if the object has no handle.
    shm_auto_stats_t stats() const noexcept
    {
        shm_auto_stats_t counts{};
        F::stats(this->handle_, &counts);
        return counts;
    }

    /// Returns whether there is a connection, as far as the worker knows.
    /// \return true: there is one.
    bool is_connected() const noexcept { return F::is_connected(this->handle_); }

    /// Stores the process and the user of the peer of the present session.
    /// \param[out] out Gets the process and the user.
    /// \return No error, or a code of shm_server_peer_auto (of a client: shm_client_peer_auto).
    [[nodiscard]] std::error_code peer(peer_identity &out) const
    {
        char user[256] = "";
        const std::error_code error = F::peer(this->handle_, &out.process_id, user, sizeof user);
        if (!error) out.user = user;
        return error;
    }

private:
    auto_endpoint(const std::string &name, std::error_code *error, callbacks calls, const auto_options &behaviour,
                  const xshm::options &chosen)
        : base(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, this->callbacks_->attached.on_event);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        const auto c = this->callbacks_->c();
        this->handle_ =
            detail::checked(F::start(&config, &c, &behaviour, &c_chosen.c), "starting in the background", name, error);
    }
};

/// A server that accepts one client after the other, in the background.
///
/// \ingroup cpp_auto
/// \par Threads
/// Any thread, also inside callbacks. The object must not be moved, stopped or destroyed meanwhile.
class auto_server : public auto_endpoint<detail::auto_server_functions> {
public:
    /// \cond
    using auto_endpoint::auto_endpoint;
    /// \endcond

    /// Returns the present session's number, which stands for its client and for no later client.
    /// \return The number. 0: there is no session.
    std::uint64_t session() const noexcept { return shm_server_session_auto(handle_); }

    /// Sends only to the client of that session. Use it for an answer that takes longer than a callback.
    /// \param session_number The session, from session().
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_server_send_to_session_auto.
    [[nodiscard]] std::error_code send_to_session(std::uint64_t session_number, view message)
    {
        return shm_server_send_to_session_auto(handle_, session_number, message.data(), message.size32());
    }

    /// Answers a call of on_call, from any thread.
    /// \param to The call.
    /// \param message The answer: 0 to SHM_MAX_CALL bytes, or to options::max_message_bytes of the server minus 16.
    /// \return No error, or a code of shm_server_answer_auto.
    [[nodiscard]] std::error_code answer(call to, view message)
    {
        return shm_server_answer_auto(handle_, to, message.data(), message.size32());
    }

    /// Ends a call without an answer.
    /// \param to The call.
    /// \return No error, or a code of shm_server_refuse_auto.
    [[nodiscard]] std::error_code refuse(call to) { return shm_server_refuse_auto(handle_, to); }
};

/// A client that connects, and connects again, in the background.
/// \ingroup cpp_auto
using auto_client = auto_endpoint<detail::auto_client_functions>;

/// The callbacks of a server for many clients; see shm_multi_callbacks_t. The first argument is the client's slot.
///
/// \ingroup cpp_multi
/// \par Threads
/// Any thread, one at a time, until it is passed to a constructor. See shm_multi_callbacks_t for the threads that
/// the callbacks run on.
struct multi_callbacks {
    /// A client has got a slot.
    std::function<void(std::uint32_t)> on_client_connect{};
    /// The client is gone; shm_last_error reports how its connection ended.
    std::function<void(std::uint32_t)> on_client_disconnect{};
    /// A message arrived. The view is valid until the callback returns.
    std::function<void(std::uint32_t, view)> on_message{};
    /// An operation failed, or another callback threw an exception (SHM_ERROR_INTERNAL). SHM_NO_CLIENT: the error
    /// concerns no client.
    std::function<void(std::uint32_t, std::error_code)> on_error{};
    /// That many messages of that direction were lost.
    std::function<void(std::uint32_t, direction, std::uint32_t)> on_overflow{};
    /// There is room again for a message to this client.
    std::function<void(std::uint32_t)> on_space_available{};
    /// A client called; answer it by multi_server::answer.
    std::function<void(std::uint32_t, call, view)> on_call{};
    /// \cond
    detail::attachments attached{};
    /// \endcond

    /// Returns the callbacks in their C form.
    /// \return The structure. It is valid while this object exists and is not moved.
    shm_multi_callbacks_t c()
    {
        auto c = shm_multi_callbacks_default();
        c.user_data = this;
        c.on_start = [](MultiServerHandle *handle, void *all) { self(all).attached.on_start(handle); };
        if (on_overflow) {
            c.on_overflow = [](std::uint32_t id, shm_direction_t way, std::uint32_t count, void *all) {
                self(all).guard(id, [&] { self(all).on_overflow(id, static_cast<direction>(way), count); });
            };
        }
        if (on_space_available) {
            c.on_space_available = [](std::uint32_t id, void *all) {
                self(all).guard(id, [&] { self(all).on_space_available(id); });
            };
        }
        if (on_call) {
            c.on_call = [](std::uint32_t id, shm_call_t from, const void *data, std::uint32_t size, void *all) {
                self(all).guard(id, [&] { self(all).on_call(id, from, view(data, size)); });
            };
        }
        if (on_client_connect) {
            c.on_client_connect = [](std::uint32_t id, void *all) {
                self(all).guard(id, [&] { self(all).on_client_connect(id); });
            };
        }
        if (on_client_disconnect) {
            c.on_client_disconnect = [](std::uint32_t id, void *all) {
                self(all).guard(id, [&] { self(all).on_client_disconnect(id); });
            };
        }
        if (on_message) {
            c.on_message = [](std::uint32_t id, const void *data, std::uint32_t size, void *all) {
                self(all).guard(id, [&] { self(all).on_message(id, view(data, size)); });
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
    void guard(std::uint32_t id, const Call &run) noexcept
    {
        detail::shielded(run, [&] {
            if (on_error) on_error(id, make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// A server for many clients, which works on its own threads.
///
/// \ingroup cpp_multi
/// \par Threads
/// Any thread, also inside callbacks. The object must not be moved, stopped or destroyed meanwhile.
class multi_server : public detail::background<MultiServerHandle, shm_multi_server_stop, shm_multi_server_request_stop,
                                               shm_multi_server_stop_timeout, multi_callbacks> {
public:
    /// Starts a server under a name. See shm_multi_server_start_with_options.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param calls The callbacks.
    /// \param behaviour How the server behaves.
    /// \param chosen The options of each client's channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    explicit multi_server(const std::string &name, multi_callbacks calls = {},
                          const shm_multi_options_t &behaviour = shm_multi_options_default(),
                          const xshm::options &chosen = {})
        : multi_server(name, nullptr, std::move(calls), behaviour, chosen)
    {
    }
    /// Starts a server under a name. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param behaviour How the server behaves.
    /// \param chosen The options of each client's channel.
    multi_server(const std::string &name, std::error_code &error, multi_callbacks calls = {},
                 const shm_multi_options_t &behaviour = shm_multi_options_default(), const xshm::options &chosen = {})
        : multi_server(name, &error, std::move(calls), behaviour, chosen)
    {
    }

    /// Sends a message to the client of a slot. Never waits: a full queue evicts its oldest messages.
    /// \param id The client's slot.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_server_send_to.
    [[nodiscard]] std::error_code send_to(std::uint32_t id, view message)
    {
        return shm_multi_server_send_to(handle_, id, message.data(), message.size32());
    }

    /// Sends a message to the client of a slot if there is room; evicts nothing.
    /// \param id The client's slot.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_server_try_send_to.
    [[nodiscard]] std::error_code try_send_to(std::uint32_t id, view message)
    {
        return shm_multi_server_try_send_to(handle_, id, message.data(), message.size32());
    }

    /// Sends a message to the client of a slot, and waits for room if there is none; evicts nothing.
    /// \param id The client's slot.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_multi_server_send_to_timeout.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send_to(std::uint32_t id, view message, std::chrono::duration<Rep, Period> timeout)
    {
        return shm_multi_server_send_to_timeout(handle_, id, message.data(), message.size32(), detail::milliseconds(timeout));
    }

    /// Returns the session number of the client that has a slot; it stands for that client and for no later client.
    /// \param id The client's slot.
    /// \return The number. 0: the slot has no client.
    std::uint64_t session(std::uint32_t id) const noexcept { return shm_multi_server_session(handle_, id); }

    /// Sends only to the client of that session. Use it for an answer that takes longer than a callback.
    /// \param session_number The session, from session().
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_server_send_to_session.
    [[nodiscard]] std::error_code send_to_session(std::uint64_t session_number, view message)
    {
        return shm_multi_server_send_to_session(handle_, session_number, message.data(), message.size32());
    }

    /// Sends only to the client of that session, if there is room; evicts nothing.
    /// \param session_number The session, from session().
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_server_try_send_to_session.
    [[nodiscard]] std::error_code try_send_to_session(std::uint64_t session_number, view message)
    {
        return shm_multi_server_try_send_to_session(handle_, session_number, message.data(), message.size32());
    }

    /// Sends only to the client of that session, and waits for room if there is none; evicts nothing.
    /// \param session_number The session, from session().
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_multi_server_send_to_session_timeout.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send_to_session(std::uint64_t session_number, view message,
                                                  std::chrono::duration<Rep, Period> timeout)
    {
        return shm_multi_server_send_to_session_timeout(handle_, session_number, message.data(), message.size32(),
                                                        detail::milliseconds(timeout));
    }

    /// Answers a call of on_call, from any thread.
    /// \param to The call.
    /// \param message The answer: 0 to SHM_MAX_CALL bytes, or to options::max_message_bytes of the server minus 16.
    /// \return No error, or a code of shm_multi_server_answer.
    [[nodiscard]] std::error_code answer(call to, view message)
    {
        return shm_multi_server_answer(handle_, to, message.data(), message.size32());
    }

    /// Ends a call without an answer.
    /// \param to The call.
    /// \return No error, or a code of shm_multi_server_refuse.
    [[nodiscard]] std::error_code refuse(call to) { return shm_multi_server_refuse(handle_, to); }

    /// Stores the process and the user of the client of a session.
    /// \param session_number The session, from session().
    /// \param[out] out Gets the process and the user.
    /// \return No error, or a code of shm_multi_server_peer.
    [[nodiscard]] std::error_code peer(std::uint64_t session_number, peer_identity &out) const
    {
        char user[256] = "";
        const std::error_code error =
            shm_multi_server_peer(handle_, session_number, &out.process_id, user, sizeof user);
        if (!error) out.user = user;
        return error;
    }

    /// Stores the counts of a client's session.
    /// \param session_number The session, from session().
    /// \param[out] out Gets the counts.
    /// \return No error, or a code of shm_multi_server_stats.
    [[nodiscard]] std::error_code stats(std::uint64_t session_number, shm_client_stats_t &out) const
    {
        return shm_multi_server_stats(handle_, session_number, &out);
    }

    /// Ends one session, and no later session of its slot.
    /// \param session_number The session, from session().
    /// \return No error, or a code of shm_multi_server_disconnect_session.
    [[nodiscard]] std::error_code disconnect_session(std::uint64_t session_number)
    {
        return shm_multi_server_disconnect_session(handle_, session_number);
    }

    /// Sends a message to every client, and stores the outcome for each, in the order of the slots.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param[out] results Gets the outcomes.
    /// \return No error, or a code of shm_multi_server_broadcast_each.
    [[nodiscard]] std::error_code broadcast_each(view message, std::vector<shm_broadcast_result_t> &results)
    {
        // More clients than now cannot get the message: the array has room for each slot that has a client, and for some more.
        results.resize(client_count() + 16u);
        std::uint32_t actual = 0;
        const auto room = static_cast<std::uint32_t>(results.size());
        const shm_error_t code =
            shm_multi_server_broadcast_each(handle_, message.data(), message.size32(), results.data(), room, &actual);
        results.resize(actual < room ? actual : room);
        return code;
    }

    /// Sends a message to every client.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param[out] sent Gets the number of clients that got the message. May be nullptr.
    /// \return No error, or a code of shm_multi_server_broadcast.
    [[nodiscard]] std::error_code broadcast(view message, std::uint32_t *sent = nullptr)
    {
        return shm_multi_server_broadcast(handle_, message.data(), message.size32(), sent);
    }

    /// Ends the session of the client that has a slot.
    /// \param id The client's slot.
    /// \return No error, or a code of shm_multi_server_disconnect_client.
    [[nodiscard]] std::error_code disconnect_client(std::uint32_t id)
    {
        return shm_multi_server_disconnect_client(handle_, id);
    }

    /// Returns the number of clients that are connected.
    /// \return The number.
    std::uint32_t client_count() const noexcept { return shm_multi_server_client_count(handle_); }

    /// Returns whether a slot has a client.
    /// \param id The client's slot.
    /// \return true: the slot has a client.
    bool is_client_connected(std::uint32_t id) const noexcept { return shm_multi_server_is_client_connected(handle_, id); }

    /// Returns the slots that have a client, in order.
    /// \return The slots.
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

    /// Returns the name of a slot's channel, for use in a log.
    /// \param slot The slot.
    /// \return The name. Empty: there is no such slot.
    std::string channel_name(std::uint32_t slot) const
    {
        std::string name(shm_multi_server_channel_name(handle_, slot, nullptr, 0) + 1u, '\0');
        shm_multi_server_channel_name(handle_, slot, name.data(), static_cast<std::uint32_t>(name.size()));
        name.pop_back();
        return name;
    }

private:
    multi_server(const std::string &name, std::error_code *error, multi_callbacks calls, const shm_multi_options_t &behaviour,
                 const xshm::options &chosen)
        : background(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_multi_server_start_with_options(&config, &c, &behaviour, &c_chosen.c),
                                  "starting the server", name, error);
    }
};

/// The callbacks of a client of a server for many clients; see shm_multi_client_callbacks_t.
///
/// \ingroup cpp_multi
/// \par Threads
/// Any thread, one at a time, until it is passed to a constructor. The callbacks run on the client's worker thread,
/// one at a time.
struct multi_client_callbacks {
    /// The client is connected, and has that slot.
    std::function<void(std::uint32_t)> on_connect{};
    /// The connection is over; shm_last_error reports how it ended.
    std::function<void()> on_disconnect{};
    /// A message arrived. The view is valid until the callback returns.
    std::function<void(view)> on_message{};
    /// An operation failed, or another callback threw an exception (SHM_ERROR_INTERNAL).
    std::function<void(std::error_code)> on_error{};
    /// That many messages of that direction were lost.
    std::function<void(direction, std::uint32_t)> on_overflow{};
    /// There is room again for a message for which try_send() had found none.
    std::function<void()> on_space_available{};
    /// \cond
    detail::attachments attached{};
    /// \endcond

    /// Returns the callbacks in their C form.
    /// \return The structure. It is valid while this object exists and is not moved.
    shm_multi_client_callbacks_t c()
    {
        auto c = shm_multi_client_callbacks_default();
        c.user_data = this;
        c.on_start = [](MultiClientHandle *handle, void *all) { self(all).attached.on_start(handle); };
        if (on_overflow) {
            c.on_overflow = [](shm_direction_t way, std::uint32_t count, void *all) {
                self(all).guard([&] { self(all).on_overflow(static_cast<direction>(way), count); });
            };
        }
        if (on_space_available) {
            c.on_space_available = [](void *all) { self(all).guard([&] { self(all).on_space_available(); }); };
        }
        if (on_connect) {
            c.on_connect = [](std::uint32_t slot, void *all) { self(all).guard([&] { self(all).on_connect(slot); }); };
        }
        if (on_disconnect) c.on_disconnect = [](void *all) { self(all).guard([&] { self(all).on_disconnect(); }); };
        if (on_message) {
            c.on_message = [](const void *data, std::uint32_t size, void *all) {
                self(all).guard([&] { self(all).on_message(view(data, size)); });
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
    void guard(const Call &run) noexcept
    {
        detail::shielded(run, [&] {
            if (on_error) on_error(make_error_code(SHM_ERROR_INTERNAL));
        });
    }
};

/// A client of a server for many clients, which works on its own worker thread.
///
/// \ingroup cpp_multi
/// \par Threads
/// Any thread, also inside callbacks. The object must not be moved, stopped or destroyed meanwhile.
class multi_client
    : public detail::background<MultiClientHandle, shm_multi_client_disconnect, shm_multi_client_request_disconnect,
                                shm_multi_client_disconnect_timeout, multi_client_callbacks> {
public:
    /// Connects to a server for many clients. See shm_multi_client_connect_with_options.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param calls The callbacks.
    /// \param behaviour How the client behaves.
    /// \param chosen The options of the channel.
    /// \throws xshm::error The call failed. Compiled without exceptions, the object is left without a handle.
    explicit multi_client(const std::string &name, multi_client_callbacks calls = {},
                          const shm_multi_client_options_t &behaviour = shm_multi_client_options_default(),
                          const xshm::options &chosen = {})
        : multi_client(name, nullptr, std::move(calls), behaviour, chosen)
    {
    }
    /// Connects to a server for many clients. Stores the error in place of throwing it.
    /// \param name The name, as in shm_endpoint_config_t.
    /// \param[out] error Gets the code if the call fails, and no error otherwise.
    /// \param calls The callbacks.
    /// \param behaviour How the client behaves.
    /// \param chosen The options of the channel.
    multi_client(const std::string &name, std::error_code &error, multi_client_callbacks calls = {},
                 const shm_multi_client_options_t &behaviour = shm_multi_client_options_default(),
                 const xshm::options &chosen = {})
        : multi_client(name, &error, std::move(calls), behaviour, chosen)
    {
    }

    /// Sends a message to the server. Never waits: a full queue evicts its oldest messages.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_client_send.
    [[nodiscard]] std::error_code send(view message)
    {
        return shm_multi_client_send(handle_, message.data(), message.size32());
    }

    /// Sends a message to the server if there is room; evicts nothing.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \return No error, or a code of shm_multi_client_try_send.
    [[nodiscard]] std::error_code try_send(view message)
    {
        return shm_multi_client_try_send(handle_, message.data(), message.size32());
    }

    /// Sends a message to the server, and waits for room if there is none; evicts nothing.
    /// \param message The message: 2 to 65,535 bytes, or up to options::max_message_bytes.
    /// \param timeout How long to wait for room. xshm::forever: without a limit.
    /// \return No error, or a code of shm_multi_client_send_timeout.
    template <class Rep, class Period>
    [[nodiscard]] std::error_code send(view message, std::chrono::duration<Rep, Period> timeout)
    {
        return shm_multi_client_send_timeout(handle_, message.data(), message.size32(), detail::milliseconds(timeout));
    }

    /// Returns the client's slot at the server.
    /// \return The slot. SHM_NO_CLIENT: the constructor failed, or has not returned.
    std::uint32_t slot_id() const noexcept { return shm_multi_client_slot_id(handle_); }

    /// Returns whether the server is connected, as far as the worker knows.
    /// \return true: the server is connected.
    bool is_connected() const noexcept { return shm_multi_client_is_connected(handle_); }

    /// Stores the process and the user of the server.
    /// \param[out] out Gets the process and the user.
    /// \return No error, or a code of shm_multi_client_peer.
    [[nodiscard]] std::error_code peer(peer_identity &out) const
    {
        char user[256] = "";
        const std::error_code error = shm_multi_client_peer(handle_, &out.process_id, user, sizeof user);
        if (!error) out.user = user;
        return error;
    }

    /// Returns the client's statistics.
    /// \return The statistics. Zeros if the object has no handle.
    shm_auto_stats_t stats() const noexcept
    {
        shm_auto_stats_t counts{};
        shm_multi_client_stats(handle_, &counts);
        return counts;
    }

private:
    multi_client(const std::string &name, std::error_code *error, multi_client_callbacks calls,
                 const shm_multi_client_options_t &behaviour, const xshm::options &chosen)
        : background(std::move(calls))
    {
        const detail::c_options c_chosen(chosen, callbacks_->attached.on_event);
        const shm_endpoint_config_t config{name.c_str(), chosen.ring_bytes};
        const auto c = callbacks_->c();
        handle_ = detail::checked(shm_multi_client_connect_with_options(&config, &c, &behaviour, &c_chosen.c), "connecting to",
                                  name, error);
    }
};

} // namespace xshm

#pragma pack(pop)
#pragma pop_macro("forever")
#pragma pop_macro("foreach")
#pragma pop_macro("emit")
#pragma pop_macro("slots")
#pragma pop_macro("signals")
#pragma pop_macro("max")
#pragma pop_macro("min")

#endif // C++17
#endif // XSHM_HPP
