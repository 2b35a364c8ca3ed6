/* Runs kernels for emulate.h: threads of a block as coroutines on one operating system thread. */
#include "emulate/emulate.h"

#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define RCNN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RCNN_ASAN 1
#endif
#endif
#ifdef RCNN_ASAN
#include <sanitizer/common_interface_defs.h>
#else
#define RCNN_ASAN 0
#endif

#define THREADS_MAX RCNN_EMULATE_THREADS_MAX
#define STACK_BYTES ((size_t)(RCNN_ASAN ? 512 : 64) << 10)

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

/* ------------------------------------------------------------- coroutines */

typedef struct fiber {
    void *stack;      /* lowest byte                                    */
    void *stack_top;  /* saved stack pointer while not running          */
    void *fake_stack; /* address sanitizer's; NULL in builds without it */
} fiber;

#if defined(__x86_64__)
/* Saves the callee-saved registers on the stack and the stack pointer in *save, continues where `load` was saved. */
extern "C" void rcnn_emulate_switch(void **save, void *load);
__asm__(".text\n"
        ".hidden rcnn_emulate_switch\n"
        ".globl rcnn_emulate_switch\n"
        ".type rcnn_emulate_switch,@function\n"
        "rcnn_emulate_switch:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size rcnn_emulate_switch, .-rcnn_emulate_switch\n");

static void *first_stack_top(char *stack, void (*entry)(void))
{
    void **top = (void **)(stack + STACK_BYTES) - 1; /* entry finds the stack as after a call: 8 off a multiple of 16 */
    top[0] = NULL;
    *--top = (void *)entry;
    return top - 6; /* six registers, zero */
}
#else
#include <ucontext.h>

static void rcnn_emulate_switch(void **save, void *load)
{
    ucontext_t here;
    *save = &here;
    swapcontext(&here, (ucontext_t *)load);
}

static void *first_stack_top(char *stack, void (*entry)(void))
{
    ucontext_t *start = new ucontext_t(); /* of a pooled stack: lives as long as the program */
    getcontext(start);
    start->uc_stack.ss_sp = stack;
    start->uc_stack.ss_size = STACK_BYTES;
    makecontext(start, entry, 0);
    return start;
}
#endif

/* ------------------------------------------------------------- one block */

typedef enum thread_state { THREAD_NEW, THREAD_READY, THREAD_AT_BLOCK, THREAD_AT_WARP, THREAD_DONE } thread_state;

typedef struct thread {
    thread_state state;
    fiber *on;
    uint3 index;
    int line; /* of the barrier or warp operation it waits at */
    rcnn_emulate_gather gather;
    int predicate; /* then: the barrier's result */
    uint32_t mask; /* then: the lanes that took part */
    uint64_t value;
    uint64_t *all; /* where the warp's values go */
} thread;

static thread threads[THREADS_MAX];
static int thread_count, current;
static fiber fibers[THREADS_MAX];
static int fiber_count;
static std::vector<fiber *> idle_fibers;
static void *scheduler_top;
#if RCNN_ASAN
static void *scheduler_fake_stack;
static const void *scheduler_stack;
static size_t scheduler_stack_bytes;
#endif
static void (*kernel_body)(void *context);
static void *kernel_context;
static const char *kernel_name = "";
static int falling;
static void *dynamic_shared;
static size_t dynamic_shared_bytes;

static void enter_fiber(fiber *f)
{
#if RCNN_ASAN
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, f->stack, STACK_BYTES);
#endif
    rcnn_emulate_switch(&scheduler_top, f->stack_top);
#if RCNN_ASAN
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, NULL, NULL);
#endif
}

static void leave_fiber(fiber *f)
{
#if RCNN_ASAN
    __sanitizer_start_switch_fiber(&f->fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
    rcnn_emulate_switch(&f->stack_top, scheduler_top);
#if RCNN_ASAN
    __sanitizer_finish_switch_fiber(f->fake_stack, &scheduler_stack, &scheduler_stack_bytes);
#endif
}

static void run_threads_forever(void)
{
#if RCNN_ASAN
    __sanitizer_finish_switch_fiber(NULL, &scheduler_stack, &scheduler_stack_bytes);
#endif
    for (;;) {
        thread *t = &threads[current];
        fiber *self = t->on;
        kernel_body(kernel_context);
        t->state = THREAD_DONE;
        leave_fiber(self);
    }
}

static fiber *take_fiber(void)
{
    if (!idle_fibers.empty()) {
        fiber *f = idle_fibers.back();
        idle_fibers.pop_back();
        return f;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = (char *)mmap(NULL, STACK_BYTES + page, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE) != 0) { /* overflow faults */
        fprintf(stderr, "emulate: no memory for stacks\n");
        exit(1);
    }
    fiber *f = &fibers[fiber_count++];
    f->stack = memory + page;
    f->stack_top = first_stack_top(memory + page, run_threads_forever);
    return f;
}

static void resume(int index)
{
    thread *t = &threads[index];
    if (t->state == THREAD_NEW) {
        t->on = take_fiber();
    }
    t->state = THREAD_READY;
    current = index;
    threadIdx = t->index;
    enter_fiber(t->on);
    if (t->state == THREAD_DONE) {
        idle_fibers.push_back(t->on);
    }
}

static void wait_as(thread_state state, int line)
{
    thread *t = &threads[current];
    t->state = state;
    t->line = line;
    leave_fiber(t->on);
}

/* ------------------------------------------------------------- waiting */

static void give_up(const char *why)
{
    static const char *const STATES[] = {"not started", "running", "at a barrier", "at a warp operation", "returned"};
    fprintf(stderr, "emulate: %s, block (%u,%u,%u): %s\n", kernel_name, blockIdx.x, blockIdx.y, blockIdx.z, why);
    for (int i = 0, shown = 0; i < thread_count && shown < 40; i++) {
        const thread *t = &threads[i];
        const thread *before = i ? &threads[i - 1] : NULL;
        if (before && before->state == t->state && before->line == t->line && before->mask == t->mask) {
            continue; /* as the one before */
        }
        shown++;
        fprintf(stderr, "    from thread %d on: %s", i, STATES[t->state]);
        if (t->state == THREAD_AT_BLOCK || t->state == THREAD_AT_WARP) {
            fprintf(stderr, ", line %d", t->line);
        }
        if (t->state == THREAD_AT_WARP) {
            fprintf(stderr, ", mask %08x", t->mask);
        }
        fputc('\n', stderr);
    }
    exit(1);
}

int rcnn_emulate_block_barrier(int predicate, rcnn_emulate_gather gather, int line)
{
    thread *t = &threads[current];
    t->predicate = predicate;
    t->gather = gather;
    wait_as(THREAD_AT_BLOCK, line);
    return t->predicate;
}

uint32_t rcnn_emulate_warp(uint32_t mask, uint64_t value, uint64_t all[32], int line)
{
    thread *t = &threads[current];
    if (!(mask >> (current % 32) & 1u)) {
        t->mask = mask;
        t->state = THREAD_AT_WARP;
        t->line = line;
        give_up("a warp operation whose mask lacks the calling lane");
    }
    t->value = value;
    t->mask = mask;
    t->all = all;
    wait_as(THREAD_AT_WARP, line);
    return t->mask;
}

/* Lets go the lanes of one mask if all that have not returned are there; true when it did. */
static bool release_group(thread *warp, int lanes, const thread *first)
{
    const uint32_t mask = first->mask;
    const int line = first->line;
    uint32_t there = 0;
    uint64_t values[32];
    memset(values, 0xff, sizeof values);
    for (int i = 0; i < lanes; i++) {
        const thread *t = &warp[i];
        if (!(mask >> i & 1u) || t->state == THREAD_DONE) {
            continue;
        }
        if (t->state != THREAD_AT_WARP || t->mask != mask || t->line != line) {
            return false;
        }
        there |= 1u << i;
        values[i] = t->value;
    }
    for (int i = 0; i < lanes; i++) {
        if (there >> i & 1u) {
            memcpy(warp[i].all, values, sizeof values);
            warp[i].mask = there;
            warp[i].state = THREAD_READY;
        }
    }
    return true;
}

/* Runs a warp until all its threads have returned or wait at a barrier of the block, or nothing moves. */
static void run_warp(int first)
{
    const int lanes = thread_count - first < 32 ? thread_count - first : 32;
    bool moved = true;
    while (moved) {
        moved = false;
        for (int i = 0; i < lanes; i++) {
            const int lane = falling ? lanes - 1 - i : i;
            if (threads[first + lane].state <= THREAD_READY) {
                resume(first + lane);
                moved = true;
            }
        }
        for (int i = 0; i < lanes; i++) {
            if (threads[first + i].state == THREAD_AT_WARP) {
                moved |= release_group(&threads[first], lanes, &threads[first + i]);
            }
        }
    }
}

/* All threads wait at one barrier or have returned: lets them go. False when all have returned. */
static bool release_block(void)
{
    int count = 0, all = 1, any = 0, line = 0;
    for (int i = 0; i < thread_count; i++) {
        const thread *t = &threads[i];
        if (t->state == THREAD_DONE) {
            continue;
        }
        if (t->state != THREAD_AT_BLOCK) {
            give_up("threads wait for lanes that never come");
        }
        if (line && t->line != line) {
            give_up("threads of the block wait at different barriers");
        }
        line = t->line;
        count += t->predicate != 0;
        all &= t->predicate != 0;
        any |= t->predicate != 0;
    }
    for (int i = 0; i < thread_count; i++) {
        thread *t = &threads[i];
        if (t->state == THREAD_AT_BLOCK) {
            t->predicate = t->gather == RCNN_EMULATE_COUNT ? count : t->gather == RCNN_EMULATE_AND ? all : any;
            t->state = THREAD_READY;
        }
    }
    return line != 0;
}

/* ------------------------------------------------------------- shared memory */

typedef struct range {
    volatile char *start;
    size_t bytes;
} range;

/* From this program's own symbols: the __shared__ variables, which are zero-initialised variables of C++ functions
 * (_ZZ<function>E<variable>), and the functions by address. */
static std::map<std::string, range> shared_variables;
static std::map<uintptr_t, std::string> functions;
static std::map<const void *, std::vector<range>> shared_of; /* by kernel */

static int own_base(struct dl_phdr_info *info, size_t, void *base)
{
    *(uintptr_t *)base = info->dlpi_addr;
    return 1; /* the program itself comes first */
}

static std::vector<char> read_self(void)
{
    std::vector<char> file;
    if (FILE *in = fopen("/proc/self/exe", "rb")) {
        char piece[65536];
        for (size_t got; (got = fread(piece, 1, sizeof piece, in)) > 0;) {
            file.insert(file.end(), piece, piece + got);
        }
        fclose(in);
    }
    return file;
}

static void note_symbol(const ElfW(Sym) * symbol, const char *name, const ElfW(Shdr) * home, uintptr_t base)
{
    const int type = ELF64_ST_TYPE(symbol->st_info);
    const uintptr_t at = base + symbol->st_value;
    if (type == STT_FUNC) {
        functions[at] = name;
    } else if (type == STT_OBJECT && home->sh_type == SHT_NOBITS && strncmp(name, "_ZZ", 3) == 0) {
        shared_variables[name] = {(volatile char *)at, symbol->st_size};
    }
}

static void read_symbols(void)
{
    uintptr_t base = 0;
    dl_iterate_phdr(own_base, &base);
    const std::vector<char> file = read_self();
    const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)file.data();
    if (file.size() < sizeof *header || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return;
    }
    const ElfW(Shdr) *section = (const ElfW(Shdr) *)(file.data() + header->e_shoff);
    for (int s = 0; s < header->e_shnum; s++) {
        if (section[s].sh_type != SHT_SYMTAB) {
            continue;
        }
        const ElfW(Sym) *symbol = (const ElfW(Sym) *)(file.data() + section[s].sh_offset);
        const char *names = file.data() + section[section[s].sh_link].sh_offset;
        for (size_t i = 0; i < section[s].sh_size / sizeof *symbol; i++) {
            if (symbol[i].st_shndx != SHN_UNDEF && symbol[i].st_shndx < header->e_shnum) {
                note_symbol(&symbol[i], names + symbol[i].st_name, &section[symbol[i].st_shndx], base);
            }
        }
    }
}

/* What a kernel may use: its own variables, and those of functions that are no kernels (kernels are named so). */
static const std::vector<range> &shared_variables_of(const void *kernel)
{
    if (functions.empty()) {
        read_symbols();
    }
    const auto known = shared_of.find(kernel);
    if (known != shared_of.end()) {
        return known->second;
    }
    const auto function = functions.find((uintptr_t)kernel);
    const std::string own = function == functions.end() ? "" : "_ZZ" + function->second.substr(2);
    std::vector<range> &found = shared_of[kernel];
    for (const auto &variable : shared_variables) {
        if (variable.first.compare(0, own.size(), own) == 0 || variable.first.find("_kernel") == std::string::npos) {
            found.push_back(variable.second);
        }
    }
    return found;
}

static const std::vector<range> *poisoned; /* of the kernel that runs */

__attribute__((no_sanitize("address"))) static void poison_shared(void) /* fills red zones among the rest */
{
    for (const range &r : *poisoned) {
        for (size_t i = 0; i < r.bytes; i++) {
            r.start[i] = (char)0xff;
        }
    }
    if (dynamic_shared) {
        memset(dynamic_shared, 0xff, dynamic_shared_bytes);
    }
}

void *rcnn_emulate_dynamic_shared(void)
{
    return dynamic_shared;
}

/* ------------------------------------------------------------- launching */

static cudaError_t last_error = cudaSuccess;
static std::map<const void *, int> shared_limits; /* dynamic bytes that a kernel may have */

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value < 0 || value > RCNN_EMULATE_SHARED_OPT_IN) {
            return cudaErrorInvalidValue;
        }
        shared_limits[function] = value;
    }
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

static void run_block(void)
{
    poison_shared();
    for (int i = 0; i < thread_count; i++) {
        threads[i].state = THREAD_NEW;
        threads[i].index.x = (unsigned)i % blockDim.x;
        threads[i].index.y = (unsigned)i / blockDim.x % blockDim.y;
        threads[i].index.z = (unsigned)i / blockDim.x / blockDim.y;
    }
    const int warps = (thread_count + 31) / 32;
    do {
        for (int w = 0; w < warps; w++) {
            run_warp(32 * (falling ? warps - 1 - w : w));
        }
    } while (release_block());
}

static cudaError_t check_launch(const void *kernel, dim3 grid, dim3 block, size_t shared)
{
    const uint64_t count = (uint64_t)block.x * block.y * block.z;
    if (count < 1 || count > THREADS_MAX || block.z > 64 || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535) {
        return cudaErrorInvalidConfiguration;
    }
    const auto limit = shared_limits.find(kernel);
    return shared > (size_t)(limit == shared_limits.end() ? RCNN_EMULATE_SHARED_PLAIN : limit->second)
               ? cudaErrorInvalidValue
               : cudaSuccess;
}

void rcnn_emulate_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                         void (*body)(void *context), void *context)
{
    static_assert(sizeof(uint3) == 12, "as CUDA has it");
    const cudaError_t error = check_launch(kernel, grid, block, shared);
    if (error != cudaSuccess) {
        fprintf(stderr,
                "emulate: %s cannot be launched: grid (%u,%u,%u), block (%u,%u,%u), %zu bytes of shared memory\n", name,
                grid.x, grid.y, grid.z, block.x, block.y, block.z, shared);
        last_error = error;
        return;
    }
    poisoned = &shared_variables_of(kernel);
    kernel_name = name;
    kernel_body = body;
    kernel_context = context;
    thread_count = (int)(block.x * block.y * block.z);
    blockDim = block;
    gridDim = grid;
    dynamic_shared_bytes = shared;
    dynamic_shared = shared ? aligned_alloc(128, (shared + 127) / 128 * 128) : NULL;
    const uint64_t blocks = (uint64_t)grid.x * grid.y * grid.z;
    for (uint64_t i = 0; i < blocks; i++) {
        const uint64_t b = falling ? blocks - 1 - i : i;
        blockIdx.x = (unsigned)(b % grid.x);
        blockIdx.y = (unsigned)(b / grid.x % grid.y);
        blockIdx.z = (unsigned)(b / grid.x / grid.y);
        run_block();
    }
    free(dynamic_shared);
    dynamic_shared = NULL;
}

void rcnn_emulate_order(int order)
{
    falling = order & 1;
}
