#include "labels.h"

#define CANDIDATES 6

static double overlap(const rectangle *a, const rectangle *b)
{
    double left = a->x > b->x ? a->x : b->x, top = a->y > b->y ? a->y : b->y;
    double right = a->x + a->width < b->x + b->width ? a->x + a->width : b->x + b->width;
    double bottom = a->y + a->height < b->y + b->height ? a->y + a->height : b->y + b->height;
    return right > left && bottom > top ? (right - left) * (bottom - top) : 0.0;
}

/* Above, below, then inside; left edge first. Places beside the picture are moved in sideways, never up or down: a
 * label above a box at the top edge would otherwise slide into the box unasked. */
static bool candidate(const label_board *board, const rectangle *box, int number, double width, double height,
                      rectangle *out)
{
    double left = box->x, right = box->x + box->width - width;
    double rows[CANDIDATES / 2] = {box->y - height, box->y + box->height, box->y};
    *out = (rectangle){number % 2 ? right : left, rows[number / 2], width, height};
    if (out->x + width > board->width) {
        out->x = board->width - width;
    }
    if (out->x < 0) {
        out->x = 0;
    }
    return out->y >= 0 && out->y + height <= board->height && width <= board->width;
}

static bool is_free(const label_board *board, const rectangle *label)
{
    for (int32_t i = 0; i < board->placed_count; i++) {
        if (overlap(&board->placed[i], label) > 0) {
            return false;
        }
    }
    return true;
}

static double covered_area(const label_board *board, int32_t own, const rectangle *label)
{
    double area = 0;
    for (int32_t i = 0; i < board->box_count; i++) {
        area += i != own ? overlap(&board->boxes[i], label) : 0.0;
    }
    return area;
}

bool labels_place(label_board *board, int32_t index, double width, double height, double covered_max, rectangle *out)
{
    bool found = false;
    double best = 0;
    for (int number = 0; number < CANDIDATES; number++) {
        rectangle place;
        if (!candidate(board, &board->boxes[index], number, width, height, &place) || !is_free(board, &place)) {
            continue;
        }
        /* A place inside hides part of the instance itself, which counts a little against it. */
        double cost = covered_area(board, index, &place) + (number >= 4 ? 0.3 * width * height : 0.0);
        if (!found || cost < best) {
            found = true;
            best = cost;
            *out = place;
        }
    }
    if (!found || (covered_max < 1 && best > covered_max * width * height)) {
        return false;
    }
    board->placed[board->placed_count++] = *out;
    return true;
}
