/* From a graph to a file. protobuf-c packs into a buffer of ours that writes each piece at once: weights are handed on from
 * where they lie in the model, so that a file of 180 MB costs no memory of its own. */
#include "export/onnx_graph.h"

#include <errno.h>

#include "base/file.h"

typedef struct file_buffer {
    ProtobufCBuffer base; /* first: protobuf-c gives us its address */
    FILE *stream;
} file_buffer;

static void append(ProtobufCBuffer *buffer, size_t count, const uint8_t *data)
{
    const file_buffer *file = (const file_buffer *)buffer;
    if (count > 0 && !ferror(file->stream)) {
        (void)fwrite(data, 1, count, file->stream); /* the stream keeps the error; commit asks for it */
    }
}

/* The oldest file version whose readers know the opset. */
static int64_t ir_version(int32_t opset)
{
    return opset < 19 ? 8 : opset < 21 ? 9 : 10;
}

rcnn_status rcnn_onnx_write(rcnn_onnx_graph *g, const rcnn_onnx_file *file)
{
    RCNN_TRY(g->status);
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    Onnx__StringStringEntryProto config = ONNX__STRING_STRING_ENTRY_PROTO__INIT;
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[] = {&opset};
    Onnx__StringStringEntryProto *metadata[] = {&config};
    opset.domain = (char *)""; /* protobuf-c's structs hold char pointers; packing only reads them */
    opset.has_version = 1;
    opset.version = file->opset;
    config.key = (char *)"rcnn_config";
    config.value = (char *)file->config_json;
    g->proto.name = (char *)file->graph_name;
    model.has_ir_version = 1;
    model.ir_version = ir_version(file->opset);
    model.producer_name = (char *)"rcnn";
    model.producer_version = (char *)rcnn_version();
    model.graph = &g->proto;
    model.n_opset_import = 1;
    model.opset_import = opsets;
    model.n_metadata_props = 1;
    model.metadata_props = metadata;

    const size_t bytes = onnx__model_proto__get_packed_size(&model);
    if (bytes > RCNN_ONNX_BYTES_MAX) {
        return rcnn_fail(g->err, RCNN_ERR_LIMIT, "%s: want at most %d bytes, which protobuf readers accept, got %zu",
                         file->path, RCNN_ONNX_BYTES_MAX, bytes);
    }
    rcnn_file_writer writer;
    RCNN_TRY(rcnn_file_writer_open(file->path, &writer, g->err));
    file_buffer buffer = {.base = {.append = append}, .stream = writer.stream};
    errno = 0;
    onnx__model_proto__pack_to_buffer(&model, &buffer.base);
    return rcnn_file_writer_commit(&writer, g->err);
}
