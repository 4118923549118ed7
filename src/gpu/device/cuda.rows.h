/* What stands behind a module's source for NVRTC: each kernel, variable and struct describes itself
 * in one row of a table in device memory, __gbr_rows, which the host reads out of the image. C++11.
 * The layout of a row is gbi_cuda_row of cuda_rows.h. */
#line 1 "<gpubridge rows>"
struct __gbr_row {
    int kind, id, sub, code, lanes, pointer, is_const;
    unsigned size, element, offset, count;
    char type[128];
};

#ifdef __EDG__ /* NVRTC's front end */
#define __GBR_OFFSET(type, member) __INTADDR__(&(((type *)0)->member))
#else
#define __GBR_OFFSET(type, member) __builtin_offsetof(type, member)
#endif

template <typename T> struct __gbr_type {
    enum { code = 0, lanes = 1 };
};
#define __GBR_LANES(type, number, n)                                                               \
    template <> struct __gbr_type<type> {                                                          \
        enum { code = number, lanes = n };                                                         \
    };
#define __GBR_VECTORS(type, number)                                                                \
    __GBR_LANES(type##1, number, 1)                                                                \
    __GBR_LANES(type##2, number, 2)                                                                \
    __GBR_LANES(type##3, number, 3)                                                                \
    __GBR_LANES(type##4, number, 4)
__GBR_LANES(bool, 1, 1)
__GBR_LANES(char, 2, 1)
__GBR_LANES(signed char, 2, 1)
__GBR_LANES(unsigned char, 3, 1)
__GBR_LANES(short, 4, 1)
__GBR_LANES(unsigned short, 5, 1)
__GBR_LANES(int, 6, 1)
__GBR_LANES(unsigned int, 7, 1)
__GBR_LANES(long, 8, 1)
__GBR_LANES(unsigned long, 9, 1)
__GBR_LANES(long long, 8, 1)
__GBR_LANES(unsigned long long, 9, 1)
__GBR_LANES(float, 10, 1)
__GBR_LANES(double, 11, 1)
__GBR_VECTORS(char, 2)
__GBR_VECTORS(uchar, 3)
__GBR_VECTORS(short, 4)
__GBR_VECTORS(ushort, 5)
__GBR_VECTORS(int, 6)
__GBR_VECTORS(uint, 7)
__GBR_VECTORS(long, 8)
__GBR_VECTORS(ulong, 9)
__GBR_VECTORS(longlong, 8)
__GBR_VECTORS(ulonglong, 9)
__GBR_VECTORS(float, 10)
__GBR_VECTORS(double, 11)
__GBR_LANES(dim3, 7, 3)
#undef __GBR_VECTORS
#undef __GBR_LANES

/* An enum counts as the integer of its size. */
template <typename T, bool = __is_enum(T)> struct __gbr_code {
    enum { code = __gbr_type<T>::code };
};
template <typename T> struct __gbr_code<T, true> {
    enum { code = sizeof(T) == 1 ? 2 : sizeof(T) == 2 ? 4 : sizeof(T) == 4 ? 6 : 8 };
};
template <typename T> struct __gbr_size {
    enum { bytes = sizeof(T) };
};
template <> struct __gbr_size<void> {
    enum { bytes = 0 };
};

template <typename T> struct __gbr_plain {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gbr_plain<const T> {
    typedef T type;
    enum { is_const = 1 };
};
template <typename T> struct __gbr_plain<volatile T> {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gbr_plain<const volatile T> {
    typedef T type;
    enum { is_const = 1 };
};

/* What a pointer points at, what an array is made of, or the type itself. */
template <typename T> struct __gbr_target {
    typedef T type;
    enum { pointer = 0, bytes = sizeof(T), element = 0 };
};
template <typename T> struct __gbr_target<T *> {
    typedef T type;
    enum {
        pointer = 1,
        bytes = sizeof(T *),
        element = __gbr_size<typename __gbr_plain<T>::type>::bytes
    };
};
template <typename T> struct __gbr_target<T *const> : __gbr_target<T *> {
};
template <typename T> struct __gbr_target<T &> : __gbr_target<T> {
};
template <typename T, unsigned long N> struct __gbr_target<T[N]> : __gbr_target<T> {
};
template <typename T, unsigned long N> struct __gbr_target<const T[N]> : __gbr_target<const T> {
};

template <int... I> struct __gbr_list {
};
template <int N, int... I> struct __gbr_count : __gbr_count<N - 1, N - 1, I...> {
};
template <int... I> struct __gbr_count<0, I...> {
    typedef __gbr_list<I...> type;
};

/* The compiler's spelling of a type: the end of a function's name, "... [with T = Body]". Its
 * first part is the same for all, so the last 127 bytes are kept. */
template <unsigned long N, int... I>
__device__ constexpr __gbr_row __gbr_spell(const __gbr_row &r, const char (&text)[N],
                                           __gbr_list<I...>)
{
    return __gbr_row{
        r.kind,
        r.id,
        r.sub,
        r.code,
        r.lanes,
        r.pointer,
        r.is_const,
        r.size,
        r.element,
        r.offset,
        r.count,
        {(I < (int)N ? text[(N > 127 ? N - 127 : 0) + (I < (int)N ? I : 0)] : '\0')...}};
}
template <typename T> __device__ constexpr __gbr_row __gbr_named(const __gbr_row &r)
{
    return __gbr_spell(r, __PRETTY_FUNCTION__, typename __gbr_count<127>::type());
}
template <typename T>
__device__ constexpr __gbr_row __gbr_describe(int kind, int id, int sub, unsigned whole,
                                              unsigned offset)
{
    typedef __gbr_target<T> target;
    typedef __gbr_plain<typename target::type> plain;
    return __gbr_named<typename plain::type>(__gbr_row{kind,
                                                       id,
                                                       sub,
                                                       __gbr_code<typename plain::type>::code,
                                                       __gbr_type<typename plain::type>::lanes,
                                                       target::pointer,
                                                       plain::is_const,
                                                       target::bytes,
                                                       target::element,
                                                       offset,
                                                       whole / target::bytes,
                                                       {0}});
}

template <int I, typename... A> struct __gbr_nth {
    typedef void *type; /* past the end: the row of the kernel tells how many there are */
};
template <int I, typename A, typename... R> struct __gbr_nth<I, A, R...> : __gbr_nth<I - 1, R...> {
};
template <typename A, typename... R> struct __gbr_nth<0, A, R...> {
    typedef A type;
};
template <typename F> struct __gbr_kernel;
#define __GBR_KERNEL(exception)                                                                    \
    template <typename... A> struct __gbr_kernel<void (*)(A...) exception> {                       \
        enum { count = sizeof...(A) };                                                             \
        template <int I> struct nth : __gbr_nth<I, A...> {                                         \
        };                                                                                         \
    };
__GBR_KERNEL()
#ifdef __cpp_noexcept_function_type
__GBR_KERNEL(noexcept)
#endif
#undef __GBR_KERNEL

template <typename F> __device__ constexpr __gbr_row __gbr_kernel_row(int id)
{
    return __gbr_row{0, id, 0, 0, 0, 0, 0, 0, 0, 0, __gbr_kernel<F>::count, {0}};
}
template <typename F, int I> __device__ constexpr __gbr_row __gbr_param_row(int id)
{
    return __gbr_describe<typename __gbr_kernel<F>::template nth<I>::type>(
        1, id, I, sizeof(typename __gbr_kernel<F>::template nth<I>::type), 0);
}
template <typename T> __device__ constexpr __gbr_row __gbr_global_row(int id)
{
    return __gbr_describe<T>(2, id, 0, sizeof(T), 0);
}
template <typename T> __device__ constexpr __gbr_row __gbr_struct_row(int id)
{
    return __gbr_row{3, id, 0, 0, 0, 0, 0, sizeof(T), 0, alignof(T), 0, {0}};
}
template <typename T>
__device__ constexpr __gbr_row __gbr_field_row(int id, int sub, unsigned long offset)
{
    return __gbr_describe<T>(4, id, sub, sizeof(T), (unsigned)offset);
}
