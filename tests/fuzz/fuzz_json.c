/* Any bytes as JSON: read token by token, and once more with the top-level members skipped. Both must agree on whether
 * the text is JSON. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "fuzz.h"

static volatile double sink;

static void use_token(const rcnn_json *json)
{
    if (json->token == RCNN_JSON_KEY || json->token == RCNN_JSON_STRING) {
        if (json->text[json->length] != '\0' || strlen(json->text) > json->length) {
            abort();
        }
    } else if (json->token == RCNN_JSON_NUMBER) {
        sink = json->is_integer ? (double)json->integer : json->number;
    }
}

static bool read_all(const uint8_t *data, size_t size, bool skip)
{
    rcnn_json json;
    rcnn_error err = {0};
    rcnn_status status;
    rcnn_json_open(&json, "fuzz", data, size);
    while ((status = rcnn_json_next(&json, &err)) == RCNN_OK && json.token != RCNN_JSON_END) {
        use_token(&json);
        bool member = json.token == RCNN_JSON_KEY || json.depth > 1;
        if (skip && member && (status = rcnn_json_skip(&json, &err)) != RCNN_OK) {
            break;
        }
    }
    if ((status != RCNN_OK) != (err.message[0] != '\0')) {
        abort();
    }
    rcnn_json_close(&json);
    return status == RCNN_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (read_all(data, size, false) != read_all(data, size, true)) {
        abort();
    }
    return 0;
}
