/* Stands for libnvcuvid.so.1: each picture is full of its number, counted as pictures are decoded. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void say(const char *what, unsigned long value); /* of cuda.c, linked in here, too */

typedef struct {
    uint32_t codec, chroma, bits, reserved[3];
    uint8_t is_supported, reserved2[3];
    uint32_t max_width, max_height, max_blocks;
    uint16_t min_width, min_height;
} Caps;
typedef struct {
    unsigned long width, height, surfaces;
    uint32_t codec, chroma;
    unsigned long flags, bits_above_8;
} Info;
typedef struct {
    uint32_t width, height, index; /* in blocks of 16; where the picture goes */
} Picture;
typedef struct {
    uint8_t before[56];
    void *stream;
} Process;

static Info info;
static int number, numbers[64];

int cuvidGetDecoderCaps(Caps *caps) {
    caps->is_supported = 1, caps->max_width = caps->max_height = 8192, caps->max_blocks = 1 << 20, caps->min_width = caps->min_height = 16;
    return 0;
}
int cuvidCreateDecoder(void **decoder, const Info *given) {
    info = *given, *decoder = &info;
    return say("codec", info.codec), say("surfaces", info.surfaces), 0;
}
int cuvidDecodePicture(void *decoder, const Picture *picture) { return (void)decoder, numbers[picture->index] = number++, 0; }
int cuvidMapVideoFrame64(void *decoder, int index, void **memory, unsigned *pitch, const Process *process) {
    const int bytes = info.bits_above_8 ? 2 : 1;
    *pitch = (info.width * bytes + 511) / 512 * 512;
    *memory = malloc(*pitch * info.height * 3 / 2);
    memset(*memory, numbers[index], *pitch * info.height * 3 / 2);
    return (void)decoder, say("decoded on stream", (unsigned long)process->stream), 0;
}
int cuvidUnmapVideoFrame64(void *decoder, void *memory) { return (void)decoder, free(memory), 0; }
