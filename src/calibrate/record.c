/* The record of a calibration, for people and reports; scales themselves stand in tensors. */
#include "calibrate/calibration.h"
#include "model/activations.h"

static void add_number(rcnn_text *out, const char *key, double value)
{
    rcnn_text_printf(out, ",\"%s\":", key);
    rcnn_text_json_number(out, value);
}

static void add_sizes(rcnn_text *out, const rcnn_calibration *c)
{
    rcnn_text_add(out, ",\"sizes\":[");
    for (int32_t i = 0; i < c->size_count; i++) {
        rcnn_text_printf(out, "%s{\"width\":%d,\"height\":%d,\"images\":%d}", i ? "," : "", c->sizes[i].width,
                         c->sizes[i].height, c->sizes[i].images);
    }
    rcnn_text_add(out, "]");
}

static void add_value(rcnn_text *out, const rcnn_activation *a)
{
    rcnn_text_add(out, "{\"name\":");
    rcnn_text_json_string(out, a->value);
    add_number(out, "min", (double)a->min);
    add_number(out, "max", (double)a->max);
    rcnn_text_printf(out, ",\"method\":\"%s\"", a->method);
    add_number(out, "error", (double)a->error);
    add_number(out, "sensitivity", (double)a->sensitivity);
    rcnn_text_printf(out, ",\"decision\":\"%s\"}", a->scale > 0 ? "int8" : "float");
}

void rcnn_calibration_write_json(const rcnn_calibration *c, const rcnn_chosen *chosen, rcnn_text *out)
{
    rcnn_text_printf(out, "{\"version\":%d,\"rcnn_version\":\"%s\",\"images\":%d", RCNN_CALIBRATION_VERSION,
                     rcnn_version(), c->images);
    add_sizes(out, c);
    add_number(out, "max_error", (double)c->options.max_error);
    add_number(out, "joint_error", chosen->joint_error);
    rcnn_text_add(out, ",\"values\":[");
    for (int32_t i = 0; i < c->observed_count; i++) {
        rcnn_text_add(out, i ? "," : "");
        add_value(out, &chosen->activations[i]);
    }
    rcnn_text_add(out, "]}");
}
