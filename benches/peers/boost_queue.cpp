// Boost.Interprocess's message_queue for boost.rs. It waits by a mutex and conditions in the shared memory.

#ifdef _WIN32
// Its files go to the user's temporary folder. By default their folder is named after the time of the system's start, which
// Boost cannot find out everywhere.
#define BOOST_INTERPROCESS_SHARED_DIR_FUNC
#endif

#include <boost/interprocess/ipc/message_queue.hpp>
#include <cstddef>
#include <cstdlib>
#include <string>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;
using boost::interprocess::open_only;

#ifdef _WIN32
void boost::interprocess::ipcdetail::get_shared_dir(std::string &folder)
{
    const char *temporary = std::getenv("TEMP");
    folder = temporary ? temporary : ".";
}
#endif

extern "C" message_queue *boost_queue_make(const char *name, std::size_t messages, std::size_t longest)
try {
    return new message_queue(create_only, name, messages, longest);
} catch (...) {
    return nullptr;
}

extern "C" message_queue *boost_queue_open(const char *name)
try {
    return new message_queue(open_only, name);
} catch (...) {
    return nullptr;
}

extern "C" void boost_queue_remove(const char *name)
{
    message_queue::remove(name);
}

extern "C" bool boost_queue_send(message_queue *queue, const void *message, std::size_t size)
try {
    queue->send(message, size, 0);
    return true;
} catch (...) {
    return false;
}

extern "C" std::size_t boost_queue_receive(message_queue *queue, void *buffer, std::size_t capacity)
try {
    message_queue::size_type size = 0;
    unsigned priority = 0;
    queue->receive(buffer, capacity, size, priority);
    return size;
} catch (...) {
    return 0;
}
