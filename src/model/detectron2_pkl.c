/* A plain pickle of numpy arrays: the .pkl files of the detectron2 model zoo. */
#include "model/checkpoint.h"

rcnn_status rcnn_read_pickle(rcnn_weights *w, rcnn_error *err)
{
    rcnn_checkpoint c = {.weights = w};
    rcnn_node *root;
    size_t used;
    rcnn_pickle_open(&c.pickle, w->what, w->size);
    rcnn_status status = rcnn_pickle_run(&c.pickle, w->data, w->size, &root, &used, err);
    if (status == RCNN_OK) {
        status = rcnn_checkpoint_collect(&c, root, err);
    }
    rcnn_pickle_close(&c.pickle);
    return status;
}
