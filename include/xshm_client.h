/*
 * xshm: helpers for clients. Included by xshm.h; including this alone is the same.
 */
#ifndef XSHM_CLIENT_H
#define XSHM_CLIENT_H

#include "xshm.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Returns a configuration for a server of this name, with any ring size.
 *
 * \ingroup options
 * \param name The name, as in shm_endpoint_config_t. It must stay valid until the configuration is used.
 * \return The configuration.
 * \par Threads
 * Any thread.
 */
static inline shm_endpoint_config_t xshm_client_config(const char *name)
{
    shm_endpoint_config_t config;
    config.name = name;
    config.buffer_bytes = 0;
    return config;
}

/**
 * Returns a structure without callbacks, for a client.
 *
 * \ingroup options
 * \return The structure, with `struct_size` set. All callbacks are NULL.
 * \par Threads
 * Any thread.
 */
static inline shm_callbacks_t xshm_client_callbacks_default(void)
{
    shm_callbacks_t callbacks;
    callbacks.struct_size = sizeof callbacks;
    callbacks.on_connect = XSHM_NULL;
    callbacks.on_disconnect = XSHM_NULL;
    callbacks.on_data_available = XSHM_NULL;
    callbacks.on_space_available = XSHM_NULL;
    callbacks.on_error = XSHM_NULL;
    callbacks.user_data = XSHM_NULL;
    callbacks.on_message = XSHM_NULL;
    callbacks.on_overflow = XSHM_NULL;
    callbacks.on_start = XSHM_NULL;
    callbacks.on_call = XSHM_NULL;
    return callbacks;
}

/**
 * Does the same as shm_auto_options_default.
 *
 * \ingroup auto
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
static inline shm_auto_options_t xshm_client_auto_options_default(void)
{
    return shm_auto_options_default();
}

/**
 * Does the same as shm_auto_options_default.
 *
 * \ingroup auto
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
static inline shm_auto_options_t shm_client_auto_options_default(void)
{
    return shm_auto_options_default();
}

/**
 * Does the same as shm_multi_client_options_default.
 *
 * \ingroup multi_client
 * \return The options, with `struct_size` set.
 * \par Threads
 * Any thread.
 */
static inline shm_multi_client_options_t xshm_multi_client_options_default(void)
{
    return shm_multi_client_options_default();
}

/**
 * Does the same as shm_multi_client_callbacks_default.
 *
 * \ingroup multi_client
 * \return The structure, with `struct_size` set. All callbacks are NULL.
 * \par Threads
 * Any thread.
 */
static inline shm_multi_client_callbacks_t xshm_multi_client_callbacks_default(void)
{
    return shm_multi_client_callbacks_default();
}

#ifdef __cplusplus
}
#endif

#endif /* XSHM_CLIENT_H */
