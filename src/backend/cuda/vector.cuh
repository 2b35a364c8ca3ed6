/* Several neighbouring elements at once: what the kernels on feature maps read and write in one access. V elements of T
 * are 16 bytes (RCNN_VECTOR) in the fast paths, and one element where channels do not come in such groups. */
#ifndef RCNN_BACKEND_CUDA_VECTOR_CUH
#define RCNN_BACKEND_CUDA_VECTOR_CUH

#include "backend/cuda/device.cuh"

#include <string.h>

#define RCNN_VECTOR(T) ((int)(16 / sizeof(T)))

/* The words are what the compiler keeps whole: a struct of V halves would be loaded in pieces. */
template <size_t BYTES> struct rcnn_word;
template <> struct rcnn_word<2> {
    typedef uint16_t type;
};
template <> struct rcnn_word<4> {
    typedef uint32_t type;
};
template <> struct rcnn_word<16> {
    typedef uint4 type;
};

template <typename T, int V> struct rcnn_pack {
    typename rcnn_word<sizeof(T) * V>::type word;
};

template <int V, typename T> static __device__ __forceinline__ rcnn_pack<T, V> rcnn_load_pack(const T *src)
{
    rcnn_pack<T, V> pack;
    pack.word = *reinterpret_cast<const decltype(pack.word) *>(src);
    return pack;
}

/* From memory that nobody writes to during the kernel. */
template <int V, typename T> static __device__ __forceinline__ rcnn_pack<T, V> rcnn_load_pack_readonly(const T *src)
{
    rcnn_pack<T, V> pack;
    pack.word = __ldg(reinterpret_cast<const decltype(pack.word) *>(src));
    return pack;
}

template <typename T, int V>
static __device__ __forceinline__ void rcnn_to_floats(const rcnn_pack<T, V> &pack, float (&values)[V])
{
    T at[V];
    memcpy(at, &pack.word, sizeof at);
    for (int i = 0; i < V; i++) {
        values[i] = rcnn_to_float(at[i]);
    }
}

template <typename T, int V> static __device__ __forceinline__ void rcnn_store_floats(T *dst, const float (&values)[V])
{
    T at[V];
    for (int i = 0; i < V; i++) {
        at[i] = rcnn_from_float<T>(values[i]);
    }
    rcnn_pack<T, V> pack;
    memcpy(&pack.word, at, sizeof at);
    *reinterpret_cast<decltype(pack.word) *>(dst) = pack.word;
}

#endif
