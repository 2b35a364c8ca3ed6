/* Saturated colours that stand out from dark fluorescence, pale stains and street scenes alike; neighbours in the list
 * are far apart in hue, because instances beside one another often have numbers beside one another. */
#include "palette.h"

static const uint32_t COLOURS[] = {
    0xff3b4e, 0x1fb8ff, 0xffd21f, 0x2ecc71, 0xc264ff, 0xff8c1a, 0x14e0c8, 0xff5fb0, 0x9be11d, 0x5b7cff,
    0xf2746b, 0x00d0f0, 0xe8b800, 0x1fd18a, 0xe052e0, 0xffa64d, 0x4fa8ff, 0xc3d800, 0xff4f8b, 0x8d7bff,
};
#define COLOUR_COUNT ((int32_t)(sizeof COLOURS / sizeof COLOURS[0]))

static colour blend(colour a, double target, double share)
{
    return (colour){a.red + (target - a.red) * share, a.green + (target - a.green) * share,
                    a.blue + (target - a.blue) * share};
}

colour palette_colour(int32_t index)
{
    uint32_t hex = COLOURS[index % COLOUR_COUNT];
    colour base = {(double)(hex >> 16 & 255) / 255, (double)(hex >> 8 & 255) / 255, (double)(hex & 255) / 255};
    switch (index / COLOUR_COUNT % 3) {
    case 1:
        return blend(base, 1.0, 0.35);
    case 2:
        return blend(base, 0.0, 0.25);
    default:
        return base;
    }
}

int palette_wants_black_text(colour background)
{
    return 0.299 * background.red + 0.587 * background.green + 0.114 * background.blue > 0.5;
}
