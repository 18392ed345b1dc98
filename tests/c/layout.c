/*
 * The size of every structure of xshm.h and the offset of each field: a change breaks programs that are compiled already. This
 * file is compiled to assembly and not run, so that it works for any target. The lines with @@ have the figures (see layout in
 * ci/c.sh).
 */
#include "xshm.h"

#include <stddef.h>

#define FIGURE(what, value) __asm__ volatile("@@ " what " %c0" : : "i"(value))
#define SIZE(type) FIGURE(#type, sizeof(type))
#define FIELD(type, field) FIGURE(#type "." #field, offsetof(type, field))

void layout(void);

void layout(void)
{
    SIZE(shm_error_t);
    SIZE(shm_direction_t);
    SIZE(shm_event_t);
    FIELD(shm_event_t, struct_size);
    FIELD(shm_event_t, kind);
    FIELD(shm_event_t, error);
    FIELD(shm_event_t, process_id);
    FIELD(shm_event_t, generation);
    FIELD(shm_event_t, text);
    SIZE(shm_options_t);
    FIELD(shm_options_t, struct_size);
    FIELD(shm_options_t, message_limit);
    FIELD(shm_options_t, spin_us);
    FIELD(shm_options_t, receive_timeout_ms);
    FIELD(shm_options_t, check_interval_ms);
    FIELD(shm_options_t, reject_when_full);
    FIELD(shm_options_t, access);
    FIELD(shm_options_t, trust);
    FIELD(shm_options_t, users);
    FIELD(shm_options_t, user_count);
    FIELD(shm_options_t, security_descriptor_size);
    FIELD(shm_options_t, security_descriptor);
    FIELD(shm_options_t, clients_per_worker);
    FIELD(shm_options_t, anonymous_events);
    FIELD(shm_options_t, on_event);
    FIELD(shm_options_t, event_user_data);
    FIELD(shm_options_t, interrupter);
    FIELD(shm_options_t, max_message_bytes);
    FIELD(shm_options_t, reserved);
    SIZE(shm_endpoint_config_t);
    FIELD(shm_endpoint_config_t, name);
    FIELD(shm_endpoint_config_t, buffer_bytes);
    SIZE(shm_call_t);
    FIELD(shm_call_t, session);
    FIELD(shm_call_t, id);
    SIZE(shm_callbacks_t);
    FIELD(shm_callbacks_t, struct_size);
    FIELD(shm_callbacks_t, on_connect);
    FIELD(shm_callbacks_t, on_disconnect);
    FIELD(shm_callbacks_t, on_data_available);
    FIELD(shm_callbacks_t, on_space_available);
    FIELD(shm_callbacks_t, on_error);
    FIELD(shm_callbacks_t, user_data);
    FIELD(shm_callbacks_t, on_message);
    FIELD(shm_callbacks_t, on_overflow);
    FIELD(shm_callbacks_t, on_start);
    FIELD(shm_callbacks_t, on_call);
    SIZE(shm_stats_t);
    FIELD(shm_stats_t, generation);
    FIELD(shm_stats_t, send_depth);
    FIELD(shm_stats_t, receive_depth);
    FIELD(shm_stats_t, struct_size);
    FIELD(shm_stats_t, sent);
    FIELD(shm_stats_t, send_dropped);
    FIELD(shm_stats_t, received);
    FIELD(shm_stats_t, receive_dropped);
    FIELD(shm_stats_t, signals_sent);
    FIELD(shm_stats_t, sleeps);
    FIELD(shm_stats_t, reserved);
    SIZE(shm_event_handles_t);
    FIELD(shm_event_handles_t, s2c_data);
    FIELD(shm_event_handles_t, c2s_data);
    SIZE(shm_client_handles_t);
    FIELD(shm_client_handles_t, section);
    FIELD(shm_client_handles_t, s2c_data);
    FIELD(shm_client_handles_t, c2s_data);
    FIELD(shm_client_handles_t, s2c_space);
    FIELD(shm_client_handles_t, c2s_space);
    FIELD(shm_client_handles_t, request);
    FIELD(shm_client_handles_t, acknowledge);
    FIELD(shm_client_handles_t, disconnect);
    SIZE(shm_message_t);
    FIELD(shm_message_t, data);
    FIELD(shm_message_t, size);
    SIZE(shm_wait_handles_t);
    FIELD(shm_wait_handles_t, data);
    FIELD(shm_wait_handles_t, peer);
    SIZE(shm_caller_stats_t);
    FIELD(shm_caller_stats_t, struct_size);
    FIELD(shm_caller_stats_t, padding);
    FIELD(shm_caller_stats_t, calls);
    FIELD(shm_caller_stats_t, answers);
    FIELD(shm_caller_stats_t, late_answers);
    FIELD(shm_caller_stats_t, other_messages);
    FIELD(shm_caller_stats_t, reserved);
    SIZE(shm_auto_options_t);
    FIELD(shm_auto_options_t, struct_size);
    FIELD(shm_auto_options_t, wait_timeout_ms);
    FIELD(shm_auto_options_t, reconnect_delay_ms);
    FIELD(shm_auto_options_t, connect_timeout_ms);
    FIELD(shm_auto_options_t, max_send_queue);
    FIELD(shm_auto_options_t, recv_batch);
    FIELD(shm_auto_options_t, longest_reconnect_delay_ms);
    FIELD(shm_auto_options_t, reconnect_jitter_percent);
    SIZE(shm_auto_stats_t);
    FIELD(shm_auto_stats_t, struct_size);
    FIELD(shm_auto_stats_t, padding);
    FIELD(shm_auto_stats_t, sent_messages);
    FIELD(shm_auto_stats_t, send_overflows);
    FIELD(shm_auto_stats_t, received_messages);
    FIELD(shm_auto_stats_t, receive_overflows);
    FIELD(shm_auto_stats_t, reserved);
    SIZE(shm_multi_options_t);
    FIELD(shm_multi_options_t, struct_size);
    FIELD(shm_multi_options_t, max_clients);
    FIELD(shm_multi_options_t, poll_timeout_ms);
    FIELD(shm_multi_options_t, recv_batch);
    SIZE(shm_multi_callbacks_t);
    FIELD(shm_multi_callbacks_t, struct_size);
    FIELD(shm_multi_callbacks_t, on_client_connect);
    FIELD(shm_multi_callbacks_t, on_client_disconnect);
    FIELD(shm_multi_callbacks_t, on_message);
    FIELD(shm_multi_callbacks_t, on_error);
    FIELD(shm_multi_callbacks_t, user_data);
    FIELD(shm_multi_callbacks_t, on_overflow);
    FIELD(shm_multi_callbacks_t, on_space_available);
    FIELD(shm_multi_callbacks_t, on_start);
    FIELD(shm_multi_callbacks_t, on_call);
    SIZE(shm_broadcast_result_t);
    FIELD(shm_broadcast_result_t, session);
    FIELD(shm_broadcast_result_t, client_id);
    FIELD(shm_broadcast_result_t, result);
    FIELD(shm_broadcast_result_t, evicted);
    FIELD(shm_broadcast_result_t, reserved);
    SIZE(shm_client_stats_t);
    FIELD(shm_client_stats_t, struct_size);
    FIELD(shm_client_stats_t, send_depth);
    FIELD(shm_client_stats_t, sent);
    FIELD(shm_client_stats_t, send_dropped);
    FIELD(shm_client_stats_t, received);
    FIELD(shm_client_stats_t, receive_dropped);
    FIELD(shm_client_stats_t, reserved);
    SIZE(shm_multi_client_options_t);
    FIELD(shm_multi_client_options_t, struct_size);
    FIELD(shm_multi_client_options_t, lobby_timeout_ms);
    FIELD(shm_multi_client_options_t, slot_timeout_ms);
    FIELD(shm_multi_client_options_t, poll_timeout_ms);
    FIELD(shm_multi_client_options_t, recv_batch);
    FIELD(shm_multi_client_options_t, reconnect);
    FIELD(shm_multi_client_options_t, reconnect_delay_ms);
    FIELD(shm_multi_client_options_t, longest_reconnect_delay_ms);
    FIELD(shm_multi_client_options_t, reconnect_jitter_percent);
    SIZE(shm_multi_client_callbacks_t);
    FIELD(shm_multi_client_callbacks_t, struct_size);
    FIELD(shm_multi_client_callbacks_t, on_connect);
    FIELD(shm_multi_client_callbacks_t, on_disconnect);
    FIELD(shm_multi_client_callbacks_t, on_message);
    FIELD(shm_multi_client_callbacks_t, on_error);
    FIELD(shm_multi_client_callbacks_t, user_data);
    FIELD(shm_multi_client_callbacks_t, on_overflow);
    FIELD(shm_multi_client_callbacks_t, on_space_available);
    FIELD(shm_multi_client_callbacks_t, on_start);
}
