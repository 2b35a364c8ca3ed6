# What the cuda backend needs: a CUDA compiler, cuDNN 9 and cuBLASLt. Sets RCNN_CUDA_COMPLETE; when it is true the language
# CUDA is enabled and RCNN_CUDA_INCLUDES, RCNN_CUDA_LIBRARIES hold what the module is built with. RCNN_CUDA_REASON says in
# one line what is missing, or the versions found. CUDNN_ROOT and CUDAToolkit_ROOT are taken as hints.
set(RCNN_CUDA_COMPLETE FALSE)
set(RCNN_CUDA_REASON "switched off")
set(RCNN_CUDA_ARCHITECTURES "80-real;86-real;89-real;90" CACHE STRING
  "GPU architectures of the cuda backend; the one without -real also as PTX for later GPUs")

# The compiler, also where it is installed but not on the PATH. nvcc needs a C++ compiler beside it.
macro(rcnn_find_nvcc)
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(RCNN_NVCC nvcc HINTS "${CUDAToolkit_ROOT}/bin" PATHS /usr/local/cuda/bin)
    mark_as_advanced(RCNN_NVCC)
    if(RCNN_NVCC)
      set(ENV{CUDACXX} "${RCNN_NVCC}")
    endif()
  endif()
  include(CheckLanguage)
  check_language(CUDA)
endmacro()

# pip's packages have no libcudnn.so, only the name with the version.
macro(rcnn_find_cuda_libraries)
  find_path(CUDNN_INCLUDE_DIR cudnn_version.h HINTS "${CUDNN_ROOT}" "$ENV{CUDNN_ROOT}" ${CUDAToolkit_INCLUDE_DIRS}
    PATH_SUFFIXES include)
  find_library(CUDNN_LIBRARY NAMES cudnn libcudnn.so.9 NAMES_PER_DIR HINTS "${CUDNN_ROOT}" "$ENV{CUDNN_ROOT}"
    "${CUDAToolkit_LIBRARY_DIR}" PATH_SUFFIXES lib64 lib)
  find_library(CUBLASLT_LIBRARY NAMES cublasLt libcublasLt.so.13 libcublasLt.so.12 NAMES_PER_DIR
    HINTS "${CUDAToolkit_LIBRARY_DIR}" PATH_SUFFIXES lib64 lib)
  mark_as_advanced(CUDNN_INCLUDE_DIR CUDNN_LIBRARY CUBLASLT_LIBRARY)
  set(CUDNN_VERSION 0)
  if(CUDNN_INCLUDE_DIR)
    file(STRINGS "${CUDNN_INCLUDE_DIR}/cudnn_version.h" lines REGEX "^#define CUDNN_(MAJOR|MINOR) +[0-9]+")
    string(REGEX REPLACE ".*CUDNN_MAJOR +([0-9]+).*CUDNN_MINOR +([0-9]+).*" "\\1.\\2" CUDNN_VERSION "${lines}")
  endif()
endmacro()

if(NOT RCNN_WITH_CUDA STREQUAL "OFF")
  rcnn_find_nvcc()
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_ARCHITECTURES "${RCNN_CUDA_ARCHITECTURES}")
    enable_language(CUDA)
    find_package(CUDAToolkit QUIET)
    rcnn_find_cuda_libraries()
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(RCNN_CUDA_REASON "no CUDA compiler (nvcc and g++)")
  elseif(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
    set(RCNN_CUDA_REASON "want CUDA 12.8 or later, found ${CMAKE_CUDA_COMPILER_VERSION}")
  elseif(NOT CUDNN_INCLUDE_DIR OR NOT CUDNN_LIBRARY)
    set(RCNN_CUDA_REASON "no cuDNN (CUDNN_ROOT says where it is)")
  elseif(CUDNN_VERSION VERSION_LESS 9.0)
    set(RCNN_CUDA_REASON "want cuDNN 9 or later, found ${CUDNN_VERSION}")
  elseif(NOT CUBLASLT_LIBRARY OR NOT TARGET CUDA::cudart_static)
    set(RCNN_CUDA_REASON "no cuBLASLt or CUDA runtime")
  else()
    set(RCNN_CUDA_COMPLETE TRUE)
    set(RCNN_CUDA_REASON "CUDA ${CMAKE_CUDA_COMPILER_VERSION}, cuDNN ${CUDNN_VERSION}")
    set(RCNN_CUDA_INCLUDES ${CUDAToolkit_INCLUDE_DIRS} ${CUDNN_INCLUDE_DIR})
    set(RCNN_CUDA_LIBRARIES "${CUDNN_LIBRARY}" "${CUBLASLT_LIBRARY}" CUDA::cudart_static)
  endif()
endif()
