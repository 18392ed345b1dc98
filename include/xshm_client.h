/*
 * xshm: helpers for clients. Included by xshm.h; including this alone is the same.
 */
#ifndef XSHM_CLIENT_H
#define XSHM_CLIENT_H

#include "xshm.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Returns a configuration for a server of this name, with any ring size. The name must stay valid until it is used. */
static inline shm_endpoint_config_t xshm_client_config(const char *name)
{
    shm_endpoint_config_t config;
    config.name = name;
    config.buffer_bytes = 0;
    return config;
}

/** Returns callbacks that are all NULL. */
static inline shm_callbacks_t xshm_client_callbacks_default(void)
{
    shm_callbacks_t callbacks;
    callbacks.on_connect = 0;
    callbacks.on_disconnect = 0;
    callbacks.on_data_available = 0;
    callbacks.on_space_available = 0;
    callbacks.on_error = 0;
    callbacks.user_data = 0;
    callbacks.on_message = 0;
    callbacks.on_overflow = 0;
    return callbacks;
}

/** The same as shm_auto_options_default. */
static inline shm_auto_options_t xshm_client_auto_options_default(void)
{
    return shm_auto_options_default();
}

/** The same as shm_auto_options_default. */
static inline shm_auto_options_t shm_client_auto_options_default(void)
{
    return shm_auto_options_default();
}

/** The same as shm_multi_client_options_default. */
static inline shm_multi_client_options_t xshm_multi_client_options_default(void)
{
    return shm_multi_client_options_default();
}

/** The same as shm_multi_client_callbacks_default. */
static inline shm_multi_client_callbacks_t xshm_multi_client_callbacks_default(void)
{
    return shm_multi_client_callbacks_default();
}

#ifdef __cplusplus
}
#endif

#endif /* XSHM_CLIENT_H */
