/* Stands for libnvidia-encode.so.1. It writes down what it was told: the stream, the configuration whole ($FAKE_CONFIG), and each surface.
 * A packet is the sum of the luma that it is made of, or the next one of $FAKE_STREAM: headers and packets, each behind its length.
 * $FAKE_ENGINES: what it answers to how many encoders there are. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void say(const char *what, unsigned long value); /* of cuda.c, linked in here, too */

typedef struct {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
} Guid;

static const Guid H264 = {0x6BC82762, 0x4E63, 0x4ca4, {0xAA, 0x85, 0x1E, 0x50, 0xF3, 0x21, 0xF6, 0xBF}};
static const Guid CODECS[] = {
    {0x6BC82762, 0x4E63, 0x4ca4, {0xAA, 0x85, 0x1E, 0x50, 0xF3, 0x21, 0xF6, 0xBF}},
    {0x790CDC88, 0x4522, 0x4d7b, {0x94, 0x25, 0xBD, 0xA9, 0x97, 0x5F, 0x76, 0x03}},
    {0x0A352289, 0x0AA7, 0x4759, {0x86, 0x2D, 0x5D, 0x15, 0xCD, 0x16, 0xD2, 0x54}},
};
enum { WIDTH_MAX = 16, HEIGHT_MAX = 17, NUM_ENCODER_ENGINES = 49 };
enum { CONFIG_AT = 88, CONFIG_BYTES = 3584 }; /* NV_ENC_INITIALIZE_PARAMS::encodeConfig */
enum { GUID_COUNT = 1, GUIDS = 4, CAPS = 7, INITIALIZE = 11, BITSTREAM = 14, ENCODE = 16, LOCK = 17, MAP = 25, DESTROY = 27, OPEN = 29 };
enum { HEADERS = 22, REGISTER = 30, LAST_ERROR = 37, STREAMS = 38, NUM = 41 }; /* places in the list of functions */

typedef struct {
    uint32_t version, kind, width, height, pitch, index;
    void *memory, *registered;
    uint32_t format;
} Registration;
typedef struct {
    uint32_t version, index;
    void *memory, *registered, *mapped;
    uint32_t format;
} Mapping;
typedef struct {
    uint32_t version, width, height, pitch, flags, number;
    uint64_t time, duration;
    void *input, *output;
} Picture;
typedef struct {
    uint64_t time, sum;
} Packet;
typedef struct {
    uint32_t version, flags;
    Packet *packet;
    uint32_t *slices, number, status, num_slices, size;
    uint64_t time, duration;
    void *data;
    uint32_t kind;
} Lock;

static int sessions;
static void *const ENCODER = (void *)0xE0;

static int nothing(void) { return 0; }
static int count_guids(void *encoder, uint32_t *count) { return (void)encoder, *count = 3, 0; }
static int get_guids(void *encoder, Guid *guids, uint32_t room, uint32_t *count) {
    return (void)encoder, (void)room, memcpy(guids, CODECS, sizeof CODECS), *count = 3, 0;
}
static int get_caps(void *encoder, Guid codec, uint32_t *query, int *value) {
    if (encoder != ENCODER || !sessions || query[0] >> 28 != 7) return 8;
    *value = query[1] == WIDTH_MAX || query[1] == HEIGHT_MAX ? 8192 : 1;
    if (query[1] == NUM_ENCODER_ENGINES && !memcmp(&codec, &H264, sizeof codec)) *value = atoi(getenv("FAKE_ENGINES"));
    return 0;
}
static int open_session(uint32_t *session, void **encoder) {
    if (session[0] >> 28 != 7 || session[1] != 1 || *(void **)(session + 2) != (void *)0x1000) return 8; /* CUDA, our context */
    say("opened for version", session[6] & 0xff);
    return sessions++, *encoder = ENCODER, 0;
}
static int destroy(void *encoder) { return say("destroyed", (unsigned long)encoder), sessions--, 0; }
static int initialize(void *encoder, char *parameters) {
    FILE *file = fopen(getenv("FAKE_CONFIG"), "wb");
    fwrite(*(void **)(parameters + CONFIG_AT), 1, CONFIG_BYTES, file);
    return (void)encoder, fclose(file);
}
static int set_streams(void *encoder, void **in, void **out) {
    say("reads on stream", (unsigned long)*in);
    say("writes on stream", (unsigned long)*out);
    return (void)encoder, 0;
}
static int make_bitstream(void *encoder, char *parameters) { return (void)encoder, *(void **)(parameters + 16) = calloc(1, sizeof(Packet)), 0; }
static int register_memory(void *encoder, Registration *given) {
    say("registered", (unsigned long)given->memory);
    say("pitch", given->pitch), say("width", given->width), say("height", given->height), say("format", given->format);
    Registration *kept = malloc(sizeof *kept);
    return (void)encoder, *kept = *given, given->registered = kept, 0;
}
static int map(void *encoder, Mapping *given) {
    return (void)encoder, given->mapped = given->registered, given->format = ((Registration *)given->registered)->format, 0;
}
static int encode(void *encoder, Picture *picture) {
    if (picture->flags & 8) return 0; /* the end */
    const Registration *from = picture->input;
    Packet *packet = picture->output;
    packet->time = picture->time, packet->sum = 0;
    for (uint32_t y = 0; y < from->height; y++)
        for (uint32_t x = 0; x < from->width; x++) packet->sum += ((uint8_t *)from->memory)[y * picture->pitch + x];
    return (void)encoder, 0;
}
static void *next_of_stream(uint32_t *size) {
    static FILE *stream;
    static char room[1 << 20];
    if (!stream) stream = fopen(getenv("FAKE_STREAM"), "rb");
    if (fread(size, sizeof *size, 1, stream) != 1 || *size > sizeof room || fread(room, 1, *size, stream) != *size) abort();
    return room;
}
static int get_headers(void *encoder, char *wanted) { /* room at 4, memory at 16, size at 24 */
    if (!getenv("FAKE_STREAM")) return 0;
    uint32_t size;
    const void *headers = next_of_stream(&size);
    memcpy(*(void **)(wanted + 16), headers, size);
    return (void)encoder, **(uint32_t **)(wanted + 24) = size, 0;
}
static int lock(void *encoder, Lock *given) {
    given->size = sizeof given->packet->sum, given->data = &given->packet->sum, given->time = given->packet->time, given->kind = 3; /* IDR */
    if (getenv("FAKE_STREAM")) given->data = next_of_stream(&given->size);
    return (void)encoder, 0;
}
static const char *last_error(void *encoder) { return (void)encoder, "none"; }

int NvEncodeAPIGetMaxSupportedVersion(uint32_t *version) { return *version = 0xff0, 0; }
int NvEncodeAPICreateInstance(char *list) {
    if (*(uint32_t *)list >> 28 != 7) return 15; /* NV_ENC_ERR_INVALID_VERSION */
    void **functions = (void **)(list + 8);
    for (int place = 0; place < NUM; place++) functions[place] = (void *)nothing;
    functions[GUID_COUNT] = (void *)count_guids, functions[GUIDS] = (void *)get_guids, functions[CAPS] = (void *)get_caps;
    functions[INITIALIZE] = (void *)initialize, functions[BITSTREAM] = (void *)make_bitstream, functions[DESTROY] = (void *)destroy;
    functions[ENCODE] = (void *)encode, functions[LOCK] = (void *)lock, functions[MAP] = (void *)map;
    functions[REGISTER] = (void *)register_memory, functions[HEADERS] = (void *)get_headers;
    functions[OPEN] = (void *)open_session, functions[LAST_ERROR] = (void *)last_error, functions[STREAMS] = (void *)set_streams;
    return 0;
}
