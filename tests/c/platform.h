/* Processes, threads and counters for the tests, on Windows and on Linux. */
#ifndef PLATFORM_H
#define PLATFORM_H

#ifdef _WIN32
#include <windows.h>
typedef HANDLE thread_t;
#define THREAD DWORD WINAPI
#define THREAD_END 0
static inline void begin(thread_t *thread, LPTHREAD_START_ROUTINE run, void *with) { *thread = CreateThread(0, 0, run, with, 0, 0); }
static inline void join(thread_t thread) { WaitForSingleObject(thread, INFINITE); CloseHandle(thread); }
static inline void pause_ms(unsigned ms) { Sleep(ms); }
static inline unsigned own_pid(void) { return GetCurrentProcessId(); }
#else
#include <pthread.h>
#include <time.h>
#include <unistd.h>
typedef pthread_t thread_t;
#define THREAD void *
#define THREAD_END NULL
static inline void begin(thread_t *thread, void *(*run)(void *), void *with) { pthread_create(thread, NULL, run, with); }
static inline void join(thread_t thread) { pthread_join(thread, NULL); }
static inline void pause_ms(unsigned ms) { usleep(1000 * ms); }
static inline unsigned own_pid(void) { return (unsigned)getpid(); }
#endif

/* Adds 1 atomically, since callbacks run on several threads. */
#ifdef _MSC_VER
#define ADD(count) InterlockedIncrement((volatile LONG *)&(count))
#else
#define ADD(count) __sync_fetch_and_add(&(count), 1)
#endif

#endif
