/* What stands behind a module's source for NVRTC: each kernel, variable and struct describes itself
 * in one row of a table in device memory, __gb_rows, which the host reads out of the image. C++11.
 * The layout of a row is gbi_cuda_row of cuda_rows.h. */
#line 1 "<gpubridge rows>"
struct __gb_row {
    int kind, id, sub, code, lanes, pointer, is_const;
    unsigned size, element, offset, count;
    char type[128];
};

#ifdef __EDG__ /* NVRTC's front end */
#define __GB_OFFSET(type, member) __INTADDR__(&(((type *)0)->member))
#else
#define __GB_OFFSET(type, member) __builtin_offsetof(type, member)
#endif

template <typename T> struct __gb_type {
    enum { code = 0, lanes = 1 };
};
#define __GB_LANES(type, number, n)                                                                \
    template <> struct __gb_type<type> {                                                           \
        enum { code = number, lanes = n };                                                         \
    };
#define __GB_VECTORS(type, number)                                                                 \
    __GB_LANES(type##1, number, 1)                                                                 \
    __GB_LANES(type##2, number, 2)                                                                 \
    __GB_LANES(type##3, number, 3)                                                                 \
    __GB_LANES(type##4, number, 4)
__GB_LANES(bool, 1, 1)
__GB_LANES(char, 2, 1)
__GB_LANES(signed char, 2, 1)
__GB_LANES(unsigned char, 3, 1)
__GB_LANES(short, 4, 1)
__GB_LANES(unsigned short, 5, 1)
__GB_LANES(int, 6, 1)
__GB_LANES(unsigned int, 7, 1)
__GB_LANES(long, 8, 1)
__GB_LANES(unsigned long, 9, 1)
__GB_LANES(long long, 8, 1)
__GB_LANES(unsigned long long, 9, 1)
__GB_LANES(float, 10, 1)
__GB_LANES(double, 11, 1)
__GB_VECTORS(char, 2)
__GB_VECTORS(uchar, 3)
__GB_VECTORS(short, 4)
__GB_VECTORS(ushort, 5)
__GB_VECTORS(int, 6)
__GB_VECTORS(uint, 7)
__GB_VECTORS(long, 8)
__GB_VECTORS(ulong, 9)
__GB_VECTORS(longlong, 8)
__GB_VECTORS(ulonglong, 9)
__GB_VECTORS(float, 10)
__GB_VECTORS(double, 11)
__GB_LANES(dim3, 7, 3)
#undef __GB_VECTORS
#undef __GB_LANES

/* An enum counts as the integer of its size. */
template <typename T, bool = __is_enum(T)> struct __gb_code {
    enum { code = __gb_type<T>::code };
};
template <typename T> struct __gb_code<T, true> {
    enum { code = sizeof(T) == 1 ? 2 : sizeof(T) == 2 ? 4 : sizeof(T) == 4 ? 6 : 8 };
};
template <typename T> struct __gb_size {
    enum { bytes = sizeof(T) };
};
template <> struct __gb_size<void> {
    enum { bytes = 0 };
};

template <typename T> struct __gb_plain {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gb_plain<const T> {
    typedef T type;
    enum { is_const = 1 };
};
template <typename T> struct __gb_plain<volatile T> {
    typedef T type;
    enum { is_const = 0 };
};
template <typename T> struct __gb_plain<const volatile T> {
    typedef T type;
    enum { is_const = 1 };
};

/* What a pointer points at, what an array is made of, or the type itself. */
template <typename T> struct __gb_target {
    typedef T type;
    enum { pointer = 0, bytes = sizeof(T), element = 0 };
};
template <typename T> struct __gb_target<T *> {
    typedef T type;
    enum {
        pointer = 1,
        bytes = sizeof(T *),
        element = __gb_size<typename __gb_plain<T>::type>::bytes
    };
};
template <typename T> struct __gb_target<T *const> : __gb_target<T *> {
};
template <typename T> struct __gb_target<T &> : __gb_target<T> {
};
template <typename T, unsigned long N> struct __gb_target<T[N]> : __gb_target<T> {
};
template <typename T, unsigned long N> struct __gb_target<const T[N]> : __gb_target<const T> {
};

template <int... I> struct __gb_list {
};
template <int N, int... I> struct __gb_count : __gb_count<N - 1, N - 1, I...> {
};
template <int... I> struct __gb_count<0, I...> {
    typedef __gb_list<I...> type;
};

/* The compiler's spelling of a type: the end of a function's name, "... [with T = Body]". Its
 * first part is the same for all, so the last 127 bytes are kept. */
template <unsigned long N, int... I>
__device__ constexpr __gb_row __gb_spell(const __gb_row &r, const char (&text)[N], __gb_list<I...>)
{
    return __gb_row{
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
template <typename T> __device__ constexpr __gb_row __gb_named(const __gb_row &r)
{
    return __gb_spell(r, __PRETTY_FUNCTION__, typename __gb_count<127>::type());
}
template <typename T>
__device__ constexpr __gb_row __gb_describe(int kind, int id, int sub, unsigned whole,
                                            unsigned offset)
{
    typedef __gb_target<T> target;
    typedef __gb_plain<typename target::type> plain;
    return __gb_named<typename plain::type>(__gb_row{kind,
                                                     id,
                                                     sub,
                                                     __gb_code<typename plain::type>::code,
                                                     __gb_type<typename plain::type>::lanes,
                                                     target::pointer,
                                                     plain::is_const,
                                                     target::bytes,
                                                     target::element,
                                                     offset,
                                                     whole / target::bytes,
                                                     {0}});
}

template <int I, typename... A> struct __gb_nth {
    typedef void *type; /* past the end: the row of the kernel tells how many there are */
};
template <int I, typename A, typename... R> struct __gb_nth<I, A, R...> : __gb_nth<I - 1, R...> {
};
template <typename A, typename... R> struct __gb_nth<0, A, R...> {
    typedef A type;
};
template <typename F> struct __gb_kernel;
#define __GB_KERNEL(exception)                                                                     \
    template <typename... A> struct __gb_kernel<void (*)(A...) exception> {                        \
        enum { count = sizeof...(A) };                                                             \
        template <int I> struct nth : __gb_nth<I, A...> {                                          \
        };                                                                                         \
    };
__GB_KERNEL()
#ifdef __cpp_noexcept_function_type
__GB_KERNEL(noexcept)
#endif
#undef __GB_KERNEL

template <typename F> __device__ constexpr __gb_row __gb_kernel_row(int id)
{
    return __gb_row{0, id, 0, 0, 0, 0, 0, 0, 0, 0, __gb_kernel<F>::count, {0}};
}
template <typename F, int I> __device__ constexpr __gb_row __gb_param_row(int id)
{
    return __gb_describe<typename __gb_kernel<F>::template nth<I>::type>(
        1, id, I, sizeof(typename __gb_kernel<F>::template nth<I>::type), 0);
}
template <typename T> __device__ constexpr __gb_row __gb_global_row(int id)
{
    return __gb_describe<T>(2, id, 0, sizeof(T), 0);
}
template <typename T> __device__ constexpr __gb_row __gb_struct_row(int id)
{
    return __gb_row{3, id, 0, 0, 0, 0, 0, sizeof(T), 0, alignof(T), 0, {0}};
}
template <typename T>
__device__ constexpr __gb_row __gb_field_row(int id, int sub, unsigned long offset)
{
    return __gb_describe<T>(4, id, sub, sizeof(T), (unsigned)offset);
}
